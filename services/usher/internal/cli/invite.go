package cli

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/usher/internal/client"
)

// api makes the client for a command. Address and key come from USHER_URL and USHER_API_KEY; beside the data folder of
// "usher up" neither is needed.
func (s Streams) api() *client.Client {
	vars := s.vars()
	base, key, folder := apiURL(vars), vars["USHER_API_KEY"], vars["USHER_DATA_DIR"]
	if folder == "" {
		folder = "./usher-data"
	}
	if key == "" {
		if have, err := os.ReadFile(apiKeyFile(folder)); err == nil {
			key = strings.TrimSpace(string(have))
		}
	}
	return client.New(base, key)
}

func (s Streams) vars() map[string]string {
	vars := map[string]string{}
	for _, pair := range s.Environ {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	return vars
}

// apiURL is where the API is.
func apiURL(vars map[string]string) string {
	if base := vars["USHER_URL"]; base != "" {
		return strings.TrimSuffix(base, "/")
	}
	return "http://" + cmp.Or(vars["USHER_HTTP_ADDR"], "127.0.0.1:8080")
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{fmt.Errorf("needs %s", what)}
		}
		return nil
	}
}

func inviteCommand(streams Streams) *cobra.Command {
	var org, role, inviter, name, expires, key string
	c := &cobra.Command{
		Use:     "invite ADDRESS",
		Short:   "Invite somebody",
		Example: "  usher invite new.person@example.org --role admin --inviter owner@example.org",
		Args:    exactly(1, "one e-mail address"),
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{"email": args[0], "role": role}
			for field, value := range map[string]string{"inviter": inviter, "name": name, "expires_in": expires} {
				if value != "" {
					body[field] = value
				}
			}
			header := http.Header{}
			if key != "" {
				header.Set("Idempotency-Key", key)
			}
			var made invitation.Resource
			if err := streams.api().Call(c.Context(), http.MethodPost, "/v1/organizations/"+url.PathEscape(org)+"/invitations", header, body, &made); err != nil {
				return err
			}
			return streams.print(c, made, "Invited %s to %s as %s until %s: %s", made.Email, made.Organization, made.Role, local(made.ExpiresAt), made.ID)
		},
	}
	c.Flags().StringVar(&org, "org", demo.ID, "organization")
	c.Flags().StringVar(&role, "role", "member", "role the invitee will have")
	c.Flags().StringVar(&inviter, "inviter", "", "address of the member who invites (default: the API key itself)")
	c.Flags().StringVar(&name, "name", "", "name of the invitee")
	c.Flags().StringVar(&expires, "expires-in", "", "how long it stays open, like 72h")
	c.Flags().StringVar(&key, "idempotency-key", "", "the same key invites once, however often it is called")
	return c
}

type page struct {
	Items      []invitation.Resource `json:"items"`
	NextCursor string                `json:"next_cursor,omitempty"`
}

func listCommand(streams Streams) *cobra.Command {
	var org string
	query := map[string]*string{}
	limit := 0
	c := &cobra.Command{
		Use:   "list",
		Short: "List invitations, newest first",
		Args:  exactly(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			values := url.Values{"limit": {strconv.Itoa(limit)}}
			for name, value := range query {
				if *value != "" {
					values.Set(name, *value)
				}
			}
			var found page
			if err := streams.api().Call(c.Context(), http.MethodGet, "/v1/organizations/"+url.PathEscape(org)+"/invitations?"+values.Encode(), nil, nil, &found); err != nil {
				return err
			}
			if wantsJSON(c) {
				return streams.print(c, found, "")
			}
			return table(streams.Out, found)
		},
	}
	c.Flags().StringVar(&org, "org", demo.ID, "organization")
	for name, about := range map[string]string{
		"status": "pending, accepted, declined, revoked, expired or rejected", "delivery": "queued, sent, deferred, delivered, bounced or complained",
		"email": "only this address", "role": "only this role", "cursor": "where the page begins",
	} {
		query[name] = c.Flags().String(name, "", about)
	}
	c.Flags().IntVar(&limit, "limit", 50, "rows, 1 to 200")
	return c
}

func table(out io.Writer, found page) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tADDRESS\tROLE\tSTATUS\tDELIVERY\tMEMBERSHIP\tREQUESTED\tEXPIRES")
	for _, i := range found.Items {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", i.ID, i.Email, i.Role, i.Status, i.Delivery, i.Membership, local(i.RequestedAt), local(i.ExpiresAt))
	}
	if found.NextCursor != "" {
		_, _ = fmt.Fprintf(w, "\nmore: --cursor %s\n", found.NextCursor)
	}
	return w.Flush()
}

func local(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

type timeline struct {
	Invitation invitation.Resource `json:"invitation"`
	Events     []timelineEvent     `json:"events"`
}

type timelineEvent struct {
	Sequence uint64         `json:"sequence"`
	Time     time.Time      `json:"time"`
	ID       string         `json:"id"`
	Type     string         `json:"type"`
	Source   string         `json:"source,omitempty"`
	Subject  string         `json:"subject"`
	Data     map[string]any `json:"data"`
}

func showCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Show an invitation and its timeline from the ledger",
		Args:  exactly(1, "the id of an invitation"),
		RunE: func(c *cobra.Command, args []string) error {
			api, path := streams.api(), "/v1/invitations/"+url.PathEscape(args[0])
			var t timeline
			if err := api.Call(c.Context(), http.MethodGet, path, nil, nil, &t.Invitation); err != nil {
				return err
			}
			items := struct {
				Items []timelineEvent `json:"items"`
			}{}
			if err := api.Call(c.Context(), http.MethodGet, path+"/events", nil, nil, &items); err != nil {
				return err
			}
			t.Events = items.Items
			if wantsJSON(c) {
				return streams.print(c, t, "")
			}
			return narrate(streams.Out, t)
		},
	}
}

func narrate(out io.Writer, t timeline) error {
	i := t.Invitation
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "%s\n\naddress\t%s\norganization\t%s\nrole\t%s\ninviter\t%s\nstatus\t%s\ndelivery\t%s\nmembership\t%s\nexpires\t%s\n",
		i.ID, i.Email, i.Organization, i.Role, i.Inviter, i.Status, i.Delivery, i.Membership, local(i.ExpiresAt))
	if i.Reason != "" {
		_, _ = fmt.Fprintf(w, "reason\t%s\n", i.Reason)
	}
	_, _ = fmt.Fprintln(w)
	for _, e := range t.Events {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), what(e.Subject, e.Type), e.Source, remark(e.Data))
	}
	return w.Flush()
}

// what is a short name of an event: the fact in its subject.
func what(subject, eventType string) string {
	if parts := strings.SplitN(subject, ".", 4); len(parts) == 4 {
		return parts[3]
	}
	name := strings.TrimSuffix(strings.TrimPrefix(eventType, "usher."), ".v1")
	return name
}

// remark is what is worth saying of an event beside its name. Addresses and names stay out.
func remark(data map[string]any) string {
	var said []string
	for _, field := range []string{"role", "reason", "purpose", "generation", "number", "code", "provider_message_id", "expires_at", "invitee"} {
		if value, ok := data[field]; ok {
			said = append(said, fmt.Sprintf("%s=%v", field, value))
		}
	}
	return strings.Join(said, " ")
}

func revokeCommand(streams Streams) *cobra.Command {
	var reason string
	c := &cobra.Command{
		Use:   "revoke ID",
		Short: "Take an invitation back",
		Args:  exactly(1, "the id of an invitation"),
		RunE: func(c *cobra.Command, args []string) error {
			var after invitation.Resource
			body := map[string]any{}
			if reason != "" {
				body["reason"] = reason
			}
			if err := streams.api().Call(c.Context(), http.MethodPost, "/v1/invitations/"+url.PathEscape(args[0])+"/revoke", nil, body, &after); err != nil {
				return err
			}
			return streams.print(c, after, "%s is %s.", after.ID, after.Status)
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why; kept in the timeline")
	return c
}

func resendCommand(streams Streams) *cobra.Command {
	var rotate, anyway bool
	c := &cobra.Command{
		Use:   "resend ID",
		Short: "Mail an invitation again; an expired or bounced one is made anew",
		Args:  exactly(1, "the id of an invitation"),
		RunE: func(c *cobra.Command, args []string) error {
			var after invitation.Resource
			body := map[string]any{"rotate": rotate, "send_anyway": anyway}
			if err := streams.api().Call(c.Context(), http.MethodPost, "/v1/invitations/"+url.PathEscape(args[0])+"/resend", nil, body, &after); err != nil {
				return err
			}
			return streams.print(c, after, "%s is mailed again and stays open until %s.", after.ID, local(after.ExpiresAt))
		},
	}
	c.Flags().BoolVar(&rotate, "rotate", false, "mail a new link and end the one before")
	c.Flags().BoolVar(&anyway, "send-anyway", false, "write although the address bounced, complained or unsubscribed")
	return c
}

func orgCommand(streams Streams) *cobra.Command {
	var name, owner, ownerName string
	c := &cobra.Command{
		Use:     "org SHORT-NAME",
		Short:   "Create an organization, or change its name",
		Example: "  usher org acme --name 'Acme Inc.' --owner owner@example.org --owner-name 'Olivia Owner'",
		Args:    exactly(1, "the organization's short name"),
		RunE: func(c *cobra.Command, args []string) error {
			body := map[string]any{"name": name}
			if name == "" {
				body["name"] = args[0]
			}
			if owner != "" {
				body["owner"] = map[string]any{"email": owner, "name": ownerName}
			}
			var stored roster.Organization
			if err := streams.api().Call(c.Context(), http.MethodPut, "/v1/organizations/"+url.PathEscape(args[0]), nil, body, &stored); err != nil {
				return err
			}
			return streams.print(c, stored, "%s is called %q.", stored.ID, stored.Name)
		},
	}
	c.Flags().StringVar(&name, "name", "", "how people call it")
	c.Flags().StringVar(&owner, "owner", "", "address of the owner; needed for a new organization")
	c.Flags().StringVar(&ownerName, "owner-name", "", "name of the owner")
	return c
}
