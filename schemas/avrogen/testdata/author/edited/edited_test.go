package orders

import (
	"os"
	"testing"
)

// What the version before wrote is read by the edited one.
func TestEdited(t *testing.T) {
	old, err := os.ReadFile("old.bin")
	if err != nil {
		t.Fatal(err)
	}
	var got OrderPlaced
	if err := open(t).Decode(t.Context(), old, &got, "order.placed"); err != nil {
		t.Fatal(err)
	}
	if got.OrderID != "0b0f7a7e-4f34-4f86-9d5e-4b7c4c5f3b1a" || got.X1st != int64(7) || got.Channel != "web" || got.Total.Currency != "USD" ||
		got.Status != "UNKNOWN" || got.Term.Months != 3 || got.Tax == nil {
		t.Errorf("%+v", got)
	}
	if line := got.Named.(map[string]any)["author.Line"].(map[string]any); line["item"] != "kept" {
		t.Errorf("%+v", got.Named)
	}
}
