package api

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.opentelemetry.io/otel/trace"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/services/api/docs"
	"github.com/usherhq/usher/services/api/web"
)

// routes is every route there is.
func (s *Service) routes() http.Handler {
	mux := http.NewServeMux()
	s.operations(mux)

	invitee := s.invitee()
	mux.Handle("/i/{token}", invitee)
	for _, path := range []string{"/join", "/invitations", "/invitations/{id}"} {
		mux.Handle(path, s.signIn.Sessions(invitee))
	}
	mux.Handle("/unsubscribe/{token}", invitee)
	mux.Handle("/assets/accent/", invitee)

	mux.Handle("GET /logos/{org}/{logo}", s.logos)
	mux.Handle(web.Path, web.Handler())
	if s.signIn.Enabled() {
		front := s.signIn.Sessions(s.signIn)
		mux.Handle("/signin", front)
		mux.Handle("/signin/", front)
		mux.Handle("/signout", front)
		mux.Handle("/console", s.signIn.Sessions(s.console))
		mux.Handle("/console/", s.signIn.Sessions(s.console))
	}

	mux.HandleFunc("POST /webhooks/mailgun", s.mailgunWebhook)

	s.probes.Register(mux)
	mux.Handle("/docs/", http.StripPrefix("/docs", docs.Handler()))
	mux.Handle("GET /docs", http.RedirectHandler("/docs/", http.StatusMovedPermanently))
	mux.HandleFunc("GET /asyncapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(events.AsyncAPI)
	})
	if s.outbox != nil {
		mux.Handle("/outbox", s.outbox)
		mux.Handle("/outbox.json", s.outbox)
		mux.Handle("/outbox/", s.outbox)
	}
	return s.outer(mux)
}

func init() { huma.DefaultArrayNullable = false } // the process's own setting: lists are never null

// operations registers what stands in the OpenAPI document.
func (s *Service) operations(outer *http.ServeMux) {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("Usher", "v1")
	config.Info.Description = "Invite people to organizations. Events of every step travel on NATS; see /asyncapi.yaml."
	config.DocsPath, config.SchemasPath, config.OpenAPIPath = "", "", "/openapi"
	config.CreateHooks = nil // no $schema field in every answer
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key."}}
	api := humago.New(mux, config)

	register(api, http.MethodPut, "/v1/organizations/{org}", "Create or change an organization", s.putOrganization, 200, 201, 403, 422)
	register(api, http.MethodPost, "/v1/organizations/{org}/invitations", "Invite one person", s.invite, 202, 403, 404, 409, 422)
	register(api, http.MethodPost, "/v1/invitations", "Invite up to 1000 people", s.inviteMany, 200, 422)
	register(api, http.MethodGet, "/v1/organizations/{org}/invitations", "List invitations, newest first", s.list, 200, 403, 404)
	register(api, http.MethodGet, "/v1/invitations/{id}", "Show an invitation", s.show, 200, 404)
	register(api, http.MethodGet, "/v1/invitations/{id}/events", "Show an invitation's timeline", s.timeline, 200, 404)
	register(api, http.MethodPost, "/v1/invitations/{id}/resend", "Mail an invitation again", s.resend, 202, 404, 409)
	register(api, http.MethodPost, "/v1/invitations/{id}/revoke", "Take an invitation back", s.revoke, 200, 404, 409)
	register(api, http.MethodGet, "/v1/organizations/{org}/members", "List members", s.members, 200, 403, 404)
	register(api, http.MethodPatch, "/v1/organizations/{org}/members/{person}", "Change a member's role", s.changeMember, 200, 403, 404, 409)
	register(api, http.MethodDelete, "/v1/organizations/{org}/members/{person}", "Remove a member", s.removeMember, 204, 403, 404, 409)
	register(api, http.MethodPost, "/v1/links/lookup", "See what a link is about", s.lookup, 200, 404, 410)
	register(api, http.MethodPost, "/v1/links/accept", "Accept an invitation", s.acceptLink, 200, 404, 409, 410, 422)
	register(api, http.MethodPost, "/v1/links/decline", "Decline an invitation", s.declineLink, 200, 404, 410)
	register(api, http.MethodPost, "/v1/links/renew", "Ask for a new link in place of an expired one", s.renewLink, 202, 404, 409, 410, 429)
	register(api, http.MethodGet, "/v1/organizations/{org}/imports", "List imports, newest first", s.listImports, 200, 403, 404)
	register(api, http.MethodGet, "/v1/imports/{id}", "Show an import and how far it got", s.showImport, 200, 404)
	register(api, http.MethodGet, "/v1/imports/{id}/rows", "List an import's rows", s.importRows, 200, 404, 422)
	register(api, http.MethodPost, "/v1/imports/{id}/start", "Invite the ready rows of an import", s.startImport, 200, 404, 409)
	register(api, http.MethodPost, "/v1/imports/{id}/pause", "Stop an import for a while", s.pauseImport, 200, 404, 409)
	register(api, http.MethodPost, "/v1/imports/{id}/resume", "Go on with an import", s.resumeImport, 200, 404, 409)
	register(api, http.MethodPost, "/v1/imports/{id}/cancel", "End an import before its end", s.cancelImport, 200, 404, 409)
	describeBulk(api)
	describeImports(api)
	mux.HandleFunc("POST "+uploadPath, s.uploadImport)
	mux.HandleFunc("GET "+reportPath, s.importReport)

	outer.Handle("/v1/links/", s.taken(mux))               // the token is the right
	outer.Handle("POST "+uploadPath, s.authenticated(mux)) // neither JSON nor kept in memory; a repeat is known by the job's id
	outer.Handle("/v1/", s.authenticated(s.idempotent(withURL(s.taken(mux)))))
	outer.Handle("/openapi.json", mux)
	outer.Handle("/openapi.yaml", mux)
}

// register adds one operation. statuses are what it answers, the good one first.
func register[I, O any](api huma.API, method, path, summary string, handle func(context.Context, *I) (*O, error), statuses ...int) {
	op := huma.Operation{
		OperationID: huma.GenerateOperationID(method, path, new(O)), Method: method, Path: path, Summary: summary,
		DefaultStatus: statuses[0], MaxBodyBytes: maxBody, BodyReadTimeout: 20 * time.Second,
	}
	for _, status := range statuses {
		if status >= 400 {
			op.Errors = append(op.Errors, status)
		}
	}
	op.Errors = append(op.Errors, http.StatusBadRequest, http.StatusServiceUnavailable)
	if path == "/v1/invitations" {
		op.MaxBodyBytes = maxBulkBody
	}
	if path[:9] != "/v1/links" {
		op.Security = []map[string][]string{{"key": {}}}
		op.Errors = append(op.Errors, http.StatusUnauthorized)
	}
	huma.Register(api, op, handle)
}

// describeBulk tells the document what the bulk route reads: it takes its body raw, so that each row is judged alone.
func describeBulk(api huma.API) {
	schema := api.OpenAPI().Components.Schemas.Schema(rowsType, true, "")
	op := api.OpenAPI().Paths["/v1/invitations"].Post
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
}

// outer wraps every route: security headers, no panic reaching the client half-written, problems for what no route takes.
func (s *Service) outer(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if what := recover(); what != nil {
				if err, ok := what.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(what)
				}
				s.Logger.Error("a request panicked", "panic", what, "method", r.Method)
				s.refuse(w, problem.Unavailable("Usher", nil))
			}
		}()
		w.Header().Set("X-Content-Type-Options", "nosniff")
		handler, pattern := mux.Handler(r)
		if pattern == "" {
			s.unrouted(w, r, handler)
			return
		}
		r, span := s.startSpan(r, pattern)
		defer span.End()
		mux.ServeHTTP(w, r)
	})
}

// taken lets through what some operation takes, with a body in JSON. The rest is answered here, because the router and huma
// would do so in forms of their own.
func (s *Service) taken(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch handler, pattern := mux.Handler(r); {
		case pattern == "":
			s.unrouted(w, r, handler)
		case !isJSON(r.Header.Get("Content-Type")):
			s.refuse(w, problem.New(problem.MediaType, "Send \"Content-Type: application/json\"."))
		default:
			trace.SpanFromContext(r.Context()).SetName(pattern) // more than the outer router knew
			mux.ServeHTTP(w, r)
		}
	})
}

// isJSON reports whether a content type is JSON in UTF-8; none counts as that.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	charset, named := parameters["charset"]
	return err == nil && media == "application/json" && (!named || strings.EqualFold(charset, "utf-8"))
}

// unrouted answers what no route takes with a problem, keeping the router's own verdict (404, or 405 with Allow).
func (s *Service) unrouted(w http.ResponseWriter, r *http.Request, router http.Handler) {
	verdict := &recorder{header: http.Header{}, status: http.StatusOK}
	router.ServeHTTP(verdict, r)
	if verdict.status == http.StatusMethodNotAllowed {
		w.Header()["Allow"] = verdict.header["Allow"]
		s.refuse(w, problem.New(problem.MethodNotAllowed, "This route does not take %s.", r.Method))
		return
	}
	if verdict.status >= 300 && verdict.status < 400 {
		verdict.copyTo(w)
		return
	}
	s.refuse(w, problem.New(problem.NotFound, "There is nothing here."))
}

func withURL(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), urlKey{}, r.URL.RequestURI())))
	})
}
