package contract

import (
	"encoding/json"
	"fmt"

	"github.com/seed-c9b6dc07/parley/schemas"
)

// Record is the contract as it stands in the topic of agents.
func (c Contract) Record() schemas.AgentContract {
	c = c.normal()
	ports := func(ports []Port) []schemas.ContractPort {
		out := make([]schemas.ContractPort, len(ports))
		for i, p := range ports {
			out[i] = schemas.ContractPort{Type: p.Type, Avro: string(p.Schema), At: make([]string, len(p.At))}
			for j, at := range p.At {
				out[i].At[j] = at.String()
			}
		}
		return out
	}
	return schemas.AgentContract{
		Agent: c.Agent, Group: c.GroupName(), Undeclared: c.Undeclared,
		Consumes: ports(c.Consumes), Produces: ports(c.Produces),
	}
}

// FromRecord is the contract that stands in the topic of agents, or what is
// wrong with it.
func FromRecord(r schemas.AgentContract) (Contract, error) {
	ports := func(in []schemas.ContractPort) ([]Port, error) {
		var out []Port
		for _, p := range in {
			port := Port{Type: p.Type, Schema: json.RawMessage(p.Avro)}
			for _, text := range p.At {
				at, err := ParsePlace(text)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", p.Type, err)
				}
				port.At = append(port.At, at)
			}
			out = append(out, port)
		}
		return out, nil
	}
	c := Contract{Agent: r.Agent, Group: r.Group, Undeclared: r.Undeclared}
	var err error
	if c.Consumes, err = ports(r.Consumes); err != nil {
		return Contract{}, err
	}
	if c.Produces, err = ports(r.Produces); err != nil {
		return Contract{}, err
	}
	if err := c.Validate(); err != nil {
		return Contract{}, err
	}
	return c.normal(), nil
}
