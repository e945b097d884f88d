package embedded

import (
	"fmt"
	"net/http"
	"strings"
)

// apiError is an answer that says no, with the error codes of the Confluent
// Schema Registry API.
type apiError struct {
	status  int
	code    int
	message string
}

func (e *apiError) Error() string { return e.message }

func newAPIError(status, code int, format string, args ...any) *apiError {
	return &apiError{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func errSubjectNotFound(name string) error {
	return newAPIError(http.StatusNotFound, 40401, "Subject '%s' not found.", name)
}

func errVersionNotFound(number int) error {
	if number == latestVersion {
		return newAPIError(http.StatusNotFound, 40402, "Version latest not found.")
	}
	return newAPIError(http.StatusNotFound, 40402, "Version %d not found.", number)
}

func errSchemaNotFound() error {
	return newAPIError(http.StatusNotFound, 40403, "Schema not found")
}

func errSubjectSoftDeleted(name string) error {
	return newAPIError(http.StatusNotFound, 40404, "Subject '%s' was soft deleted. Set permanent=true to delete permanently", name)
}

func errSubjectNotSoftDeleted(name string) error {
	return newAPIError(http.StatusNotFound, 40405, "Subject '%s' was not deleted first before being permanently deleted", name)
}

func errVersionSoftDeleted(name string, number int) error {
	return newAPIError(http.StatusNotFound, 40406, "Subject '%s' version %d was soft deleted. Set permanent=true to delete permanently", name, number)
}

func errVersionNotSoftDeleted(name string, number int) error {
	return newAPIError(http.StatusNotFound, 40407, "Subject '%s' version %d was not deleted first before being permanently deleted", name, number)
}

func errNoSubjectLevel(name string) error {
	return newAPIError(http.StatusNotFound, 40408, "Subject '%s' does not have subject-level compatibility configured", name)
}

func errIncompatible(name, level string, reasons []string) error {
	return newAPIError(http.StatusConflict, 409,
		"Schema being registered is incompatible with an earlier schema for subject %q (compatibility %s): %s",
		name, level, strings.Join(reasons, "; "))
}

func errInvalidSchema(why string) error {
	return newAPIError(http.StatusUnprocessableEntity, 42201, "Invalid schema: %s", why)
}

func errInvalidVersion(text string) error {
	return newAPIError(http.StatusUnprocessableEntity, 42202,
		"The specified version '%s' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\"", text)
}

func errInvalidLevel(text string) error {
	return newAPIError(http.StatusUnprocessableEntity, 42203,
		"Invalid compatibility level %q. Valid values are %s", text, strings.Join(levels, ", "))
}

func errNotPermitted(why string) error {
	return newAPIError(http.StatusUnprocessableEntity, 42205, "%s", why)
}

func errReferenced(name string, number int, ids []int) error {
	return newAPIError(http.StatusUnprocessableEntity, 42206,
		"One or more references exist to the schema of subject '%s' version %d: from schema IDs %v", name, number, ids)
}

func errInvalidSubject(name string) error {
	return newAPIError(http.StatusUnprocessableEntity, 42208, "The specified subject '%s' is not a valid name", name)
}
