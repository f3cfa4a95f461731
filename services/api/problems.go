package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/problem"
)

// Problem is a refusal on the wire, as RFC 9457 has it.
type Problem struct {
	Type   string              `json:"type" doc:"Stable name of the problem." example:"urn:usher:problem:already-invited"`
	Title  string              `json:"title" doc:"The problem in a few words, always the same for a type."`
	Status int                 `json:"status" doc:"The HTTP status."`
	Detail string              `json:"detail,omitempty" doc:"What happened this time and what to do."`
	Errors []events.FieldError `json:"errors,omitempty" doc:"The fields that are wrong."`
	Other  string              `json:"other,omitempty" doc:"Id of what stands in the way: the open invitation or the member."`

	retryAfter string
}

// Error implements error.
func (p *Problem) Error() string { return p.Title + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{"Cache-Control": {"no-store"}}
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="usher"`)
	}
	return h
}

// refusal puts an error on the wire. at comes before the location of each field ("body.").
func (s *Service) refusal(err error, at string) *Problem {
	e := problem.As(err)
	if e.Code == problem.NotNow {
		s.Logger.Warn("answered not now", "error", err)
	}
	p := &Problem{Type: e.Type(), Title: e.Title(), Status: e.Status(), Detail: e.Detail, Other: e.Other}
	for _, f := range e.Fields {
		if place, _, _ := strings.Cut(f.Location, "."); place != "query" && place != "path" && place != "header" {
			f.Location = at + f.Location
		}
		p.Errors = append(p.Errors, f)
	}
	if e.RetryAfter > 0 {
		p.retryAfter = strconv.Itoa(int(e.RetryAfter.Seconds()))
	}
	return p
}

// refuse answers outside of huma.
func (s *Service) refuse(w http.ResponseWriter, err error) {
	p := s.refusal(err, "body.")
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // the client has gone; there is nobody to tell
}

func init() {
	// Huma's own refusals (what does not fit the schema) take the same shape. The hook is a variable of its package.
	huma.NewError = func(status int, message string, causes ...error) huma.StatusError {
		code, ok := codes[status]
		if !ok {
			return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: message}
		}
		e := problem.New(code, "%s", sentence(message))
		p := &Problem{Type: e.Type(), Title: e.Title(), Status: status, Detail: e.Detail}
		for _, cause := range causes {
			var detail *huma.ErrorDetail
			if errors.As(cause, &detail) {
				p.Errors = append(p.Errors, events.FieldError{Location: detail.Location, Message: detail.Message})
			} else if cause != nil {
				p.Detail = fmt.Sprintf("%s %s.", p.Detail, printable(cause.Error()))
			}
		}
		return p
	}
}

var codes = map[int]problem.Code{
	http.StatusBadRequest: problem.Malformed, http.StatusUnauthorized: problem.Unauthenticated, http.StatusForbidden: problem.Forbidden,
	http.StatusNotFound: problem.NotFound, http.StatusConflict: problem.Conflict, http.StatusUnprocessableEntity: problem.Invalid,
	http.StatusRequestEntityTooLarge: problem.TooLarge, http.StatusServiceUnavailable: problem.NotNow,
	http.StatusUnsupportedMediaType: problem.MediaType, http.StatusRequestTimeout: problem.Malformed,
}

func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}

// printable keeps what a decoder quotes from a body from carrying line breaks or pages of it into an answer.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}
