package streaming

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// Budget is what messages that cause each other may still spend (ce_budget).
type Budget struct {
	Unit   string // such as tokens or cents
	Amount float64
}

var errBudget = errors.New("a budget is unit=number, such as tokens=1000 or cents=12.5: a unit without = and a number of 0 or more")

// ParseBudget reads unit=number.
func ParseBudget(s string) (Budget, error) {
	unit, number, _ := strings.Cut(s, "=")
	n, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return Budget{}, errBudget
	}
	b := Budget{unit, n}
	return b, b.Validate()
}

// Validate reports a unit or an amount that is none.
func (b Budget) Validate() error {
	if b.Unit == "" || strings.Contains(b.Unit, "=") || !(b.Amount >= 0) || math.IsInf(b.Amount, 0) {
		return errBudget
	}
	return nil
}

// String is the budget as ce_budget has it, with up to 15 digits.
func (b Budget) String() string {
	n, err := strconv.ParseFloat(strconv.FormatFloat(b.Amount, 'g', 15, 64), 64)
	if err != nil {
		n = b.Amount
	}
	format := byte('f')
	if n != 0 && (n < 1e-6 || n >= 1e21) {
		format = 'g'
	}
	return b.Unit + "=" + strconv.FormatFloat(n, format, -1, 64)
}

// LowerBudget is the ce_budget of a message that wishes one, caused by a message
// that has one: where both say the same unit the smaller, else the inherited. A
// wish that is no budget is none.
func LowerBudget(inherited, wish string) string {
	if wish == "" {
		return inherited
	}
	wants, err := ParseBudget(wish)
	switch {
	case err != nil:
		return inherited
	case inherited == "":
		return wish
	}
	has, err := ParseBudget(inherited)
	if err != nil {
		return inherited
	}
	if wants.Unit == has.Unit && wants.Amount < has.Amount {
		return wish
	}
	return inherited
}

// BudgetError says that a charge was more than is left of a message's budget.
// Nothing was charged.
type BudgetError struct {
	Unit   string
	Charge float64
	Left   float64
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("a charge of %v %s is over the budget: %v of it are left; send with more, or spend less", e.Charge, e.Unit, e.Left)
}

// Allowance is the budget of one run of a handler. Several goroutines may use it.
// One that is nil has no budget.
type Allowance struct {
	mu      sync.Mutex
	given   string // ce_budget of the message
	budget  Budget // what is left of it
	read    bool
	changed bool
	refused bool
}

// Give sets what there is before the run: the ce_budget of the message.
func (a *Allowance) Give(budget string) { a.given = budget }

// Left is what is left; ok is false where the message has no budget.
func (a *Allowance) Left() (left Budget, ok bool) {
	if a == nil || a.given == "" {
		return Budget{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.parsed()
}

func (a *Allowance) parsed() (left Budget, ok bool) {
	if !a.read {
		a.budget, _ = ParseBudget(a.given) // read with the envelope before: it is one
		a.read = true
	}
	return a.budget, a.budget.Unit != ""
}

// spareDigits is the part of a budget that is nothing: amounts are binary, and
// three times 0.1 has to be no more than 0.3.
const spareDigits = 1e-12

// Charge lowers what is left. Over the budget it is a *BudgetError, in a
// DeadLetterError of ReasonPolicy.
func (a *Allowance) Charge(amount float64) error {
	if !(amount >= 0) || math.IsInf(amount, 0) {
		return DeadLetter(ReasonPermanent, fmt.Errorf("a charge of %v is not a number of 0 or more", amount))
	}
	if a == nil || a.given == "" || amount == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	left, ok := a.parsed()
	if !ok {
		return nil
	}
	nothing := amount * spareDigits
	if amount > left.Amount+nothing {
		a.refused = true
		return DeadLetter(ReasonPolicy, &BudgetError{Unit: left.Unit, Charge: amount, Left: left.Amount})
	}
	if a.budget.Amount -= amount; a.budget.Amount <= nothing {
		a.budget.Amount = 0
	}
	a.changed = true
	return nil
}

// Rest is the ce_budget of what the run has caused.
func (a *Allowance) Rest() string {
	if a == nil {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.changed {
		return a.given
	}
	return LowerBudget(a.given, a.budget.String())
}

// Refused is the unit of a charge that was refused, if one was.
func (a *Allowance) Refused() (unit string, refused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.budget.Unit, a.refused
}
