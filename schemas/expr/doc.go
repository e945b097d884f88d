// Package expr evaluates expressions in CEL over values of Avro schemas. It is
// the only user of the CEL library.
//
// Types come from the schemas, so that a field that does not exist, or a
// comparison of a number with a text, is refused when the expression is
// compiled:
//
//	boolean                     bool
//	int, long                   int
//	float, double, decimal      double; a decimal is rounded to the nearest
//	string, uuid, enum          string; an enum is its symbol
//	bytes, fixed                bytes
//	array, map                  list, map
//	record                      its fields
//	date, (local-)timestamp-…   timestamp; a local one as if it were UTC
//	time-…                      duration since midnight
//	union of null and a type    the type, and null
//	another union               dyn: checked when it is evaluated
//
// There is no clock and no other input: an expression has the same result for
// the same values, always. What an evaluation may cost is bounded.
package expr
