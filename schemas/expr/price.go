package expr

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// The library knows a call's cost when it has ended. So one call alone must
// neither take long nor make much of what it is given, whatever that is.

// refused says what is wrong with a call in an expression, or nothing.
func refused(e ast.Expr) (problem string) {
	ast.PostOrderVisit(e, ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.CallKind {
			return
		}
		call := e.AsCall()
		switch name := call.FunctionName(); name {
		case "replace", "join", "split", "format", "strings.quote", "indexOf", "lastIndexOf":
			problem = "the function " + name + " is not available"
		case "matches":
			if args := call.Args(); args[len(args)-1].Kind() != ast.LiteralKind {
				problem = "the pattern of matches has to be a literal"
			}
		}
	}))
	return problem
}

// A regular expression takes time by the product of its steps and the text's
// bytes. Ten million are some tenths of a second at worst.
const (
	maxRegexSteps = 1000
	maxRegexWork  = 10_000_000
)

// prices says what calls cost for which the library charges too little. It is not
// changed once the program is made.
type prices struct{ steps map[string]int } // of regular expressions

// patterns compiles the regular expressions of a program, and prices them.
func (p prices) patterns() []*interpreter.RegexOptimization {
	one := func(overload string) *interpreter.RegexOptimization {
		return &interpreter.RegexOptimization{Function: "matches", OverloadID: overload, RegexIndex: 1, Factory: p.pattern}
	}
	return []*interpreter.RegexOptimization{one("matches"), one("matches_string")}
}

func (p prices) pattern(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return nil, err
	}
	compiled, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, err
	}
	steps := len(compiled.Inst)
	if steps > maxRegexSteps {
		return nil, fmt.Errorf("the pattern %.40q has %d steps, allowed are %d", pattern, steps, maxRegexSteps)
	}
	p.steps[pattern] = steps
	return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
		text, ok := args[0].(types.String)
		if !ok {
			return types.MaybeNoSuchOverloadErr(args[0])
		}
		if len(text) > maxRegexWork/steps {
			return types.WrapErr(ErrCost)
		}
		return types.Bool(re.MatchString(string(text)))
	}), nil
}

// CallCost implements the library's interface.
func (p prices) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	if len(args) == 0 {
		return nil
	}
	s, ok := args[0].(types.String)
	if !ok {
		return nil
	}
	price := 1 + uint64(len(s))/10
	switch function {
	case "size", "charAt", "substring", "lowerAscii", "upperAscii", "trim", "reverse":
		return &price
	case "matches":
		pattern, _ := args[len(args)-1].(types.String)
		price = 1 + uint64(len(s)*p.steps[string(pattern)])/50
		return &price
	}
	return nil
}
