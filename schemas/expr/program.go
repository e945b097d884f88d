package expr

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
)

// MaxExpression is the longest expression, in Unicode code points.
const MaxExpression = 4096

// ErrCost says that an evaluation was ended as it would have cost too much.
var ErrCost = errors.New("the evaluation costs more than the limit")

// Var is a variable of an expression.
type Var struct {
	Name string
	Type *Type
}

// Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	program cel.Program
	names   []string
}

// Budget is what evaluations may cost together, in units of the library: about
// one for each operation, and for each ten bytes of text that one looks at.
type Budget struct{ left uint64 }

// NewBudget returns a budget.
func NewBudget(units uint64) *Budget { return &Budget{left: units} }

// Compile compiles an expression whose result is true or false. An evaluation
// may cost limit units. The error is one line.
func (t *Types) Compile(expression string, limit uint64, vars ...Var) (p *Program, err error) {
	// The expression may come from a stranger, and the compiler is not ours.
	defer func() {
		if v := recover(); v != nil {
			p, err = nil, fmt.Errorf("the compiler failed: %v", v)
		}
	}()
	opts := make([]cel.EnvOption, 0, len(vars)+1)
	opts = append(opts, cel.CustomTypeProvider(t.provider))
	names := make([]string, len(vars))
	for i, v := range vars {
		names[i] = v.Name
		opts = append(opts, cel.Variable(v.Name, v.Type.cel))
	}
	base, err := baseEnv()
	if err != nil {
		return nil, err
	}
	env, err := base.Extend(opts...)
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(expression)
	if issues != nil && issues.Err() != nil {
		first := issues.Errors()[0]
		return nil, fmt.Errorf("column %d: %s", first.Location.Column()+1, strings.Join(strings.Fields(first.Message), " "))
	}
	if checked.OutputType() != cel.BoolType {
		return nil, fmt.Errorf("its result is %s instead of bool", checked.OutputType())
	}
	if problem := refused(checked.NativeRep().Expr()); problem != "" {
		return nil, errors.New(problem)
	}
	price := prices{steps: make(map[string]int)}
	program, err := env.Program(checked, cel.EvalOptions(cel.OptOptimize), cel.OptimizeRegex(price.patterns()...),
		cel.CostLimit(limit), cel.CostTracking(price))
	if err != nil {
		return nil, errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
	return &Program{program: program, names: names}, nil
}

// Eval returns the result for values of the variables, in their order. A cost
// over the program's limit, or more than is left of the budget, is ErrCost; what
// cannot be evaluated, such as a comparison with null, another error. No budget
// is no further limit.
func (p *Program) Eval(budget *Budget, values ...Value) (result bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = false, fmt.Errorf("the evaluation failed: %v", v)
		}
	}()
	if budget != nil && budget.left == 0 {
		return false, ErrCost
	}
	out, details, err := p.program.Eval(&activation{names: p.names, values: values})
	if c := details.ActualCost(); c != nil && budget != nil {
		budget.left -= min(budget.left, *c)
	}
	if cancelled, ok := errors.AsType[interpreter.EvalCancelledError](err); ok && cancelled.Cause == interpreter.CostLimitExceeded {
		return false, ErrCost
	}
	if errors.Is(err, ErrCost) {
		return false, ErrCost
	}
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("its result is %s instead of bool", out.Type().TypeName())
	}
	return bool(b), nil
}

// activation gives an evaluation its variables.
type activation struct {
	names  []string
	values []Value
}

// ResolveName implements the library's interface.
func (a *activation) ResolveName(name string) (any, bool) {
	for i, n := range a.names {
		if n == name && i < len(a.values) {
			return a.values[i].v, true
		}
	}
	return nil, false
}

// Parent implements the library's interface.
func (a *activation) Parent() interpreter.Activation { return nil }

// baseRegistry is the library's own types. It is not changed.
var baseRegistry = sync.OnceValue(func() *types.Registry {
	r, err := types.NewRegistry()
	if err != nil {
		panic(err) // it registers the library's own only
	}
	return r
})

// baseEnv is what all expressions can use.
var baseEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.CustomTypeAdapter(baseRegistry()),
		ext.Strings(ext.StringsVersion(4)),
		ext.Math(ext.MathVersion(2)),
		cel.CrossTypeNumericComparisons(true),
		cel.EnableIdentifierEscapeSyntax(),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxExpression),
		cel.ParserRecursionLimit(64),
		cel.CostSizingStrategy(cost.AggregateSizingStrategy()),
		cel.ASTValidators(cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
	)
})
