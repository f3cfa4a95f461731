package console

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/proofs"
)

// step is one line of an invitation's history, in plain words.
type step struct {
	Icon, Tone, Text, More string
	When                   *moment
}

type invitationPage struct {
	frame
	Row invitationRow
	// Deadline is when it ends or ended, Replaces and its path the invitation it was made from.
	Deadline, Ended *moment
	Note, Replaces  string
	Steps           []step
	Letter          *proofs.Proof
	// Fix offers to correct the address, Failed tells that mails to it did not arrive.
	Fix, Failed bool
	Address     string
	Renewed     bool
	Problem     *trouble
}

// invitation shows one invitation with its history.
func (c *Console) invitation(w http.ResponseWriter, r *http.Request, v visit) error {
	return c.showInvitation(w, r, v, "invitation", http.StatusOK, nil, "")
}

func (c *Console) askRevoke(w http.ResponseWriter, r *http.Request, v visit) error {
	return c.showInvitation(w, r, v, "revoke", http.StatusOK, nil, "")
}

// showInvitation shows it as it stands now, with what was refused and the address that was typed, where one was.
func (c *Console) showInvitation(w http.ResponseWriter, r *http.Request, v visit, name string, status int, refused error, typed string) error {
	if err := c.managing(v); err != nil {
		return err
	}
	record, err := c.Desk.Invitation(r.Context(), v.org.ID, r.PathValue("id"))
	if err != nil {
		return err
	}
	p, err := c.invitationPage(r, v, record)
	if err != nil {
		return err
	}
	if p.Address = cmp.Or(typed, p.Row.Email); refused != nil {
		p.Problem = explain(problem.As(refused))
	}
	return c.render(w, status, name, p)
}

func (c *Console) invitationPage(r *http.Request, v visit, record invitation.Record) (*invitationPage, error) {
	said, err := c.Desk.Deliveries(r.Context(), v.org.ID, []string{record.ID})
	if err != nil {
		return nil, err
	}
	now := c.Clock()
	p := &invitationPage{Row: c.invitationRow(v, &record, said[record.ID]), Deadline: at(record.Deadline, now), Ended: at(record.EndedAt, now)}
	p.frame = c.frame(r, v, cmp.Or(p.Row.Email, "Invitation"))
	if q := record.Request; q != nil {
		p.Note, p.Replaces, p.Renewed = q.Note, q.Replaces, q.Renewal
	}
	status := record.StatusAt(now)
	p.Failed = status == invitation.Pending && failed(record.DeliveryState())
	p.Fix = p.Row.Resend && (status == invitation.Expired || p.Failed)
	teller := teller{c: c, org: v.org.ID, you: v.person, names: c.names(v.org.ID)}
	err = c.Desk.History(r.Context(), record, func(e events.Event) {
		if s, ok := teller.tell(e); ok {
			s.When = at(e.Time, now)
			p.Steps = append(p.Steps, s)
		}
	})
	if err != nil {
		return nil, err
	}
	if record.Request != nil {
		letter, err := c.letter(r.Context(), record)
		if err != nil {
			c.Logger.Warn("a mail could not be written again", "error", err)
		} else {
			p.Letter = &letter
		}
	}
	return p, nil
}

// names are the members' names by their ids.
func (c *Console) names(org string) map[string]string {
	names := map[string]string{}
	for _, p := range c.Roster.People(org) {
		names[p.ID] = p.Name
	}
	return names
}

// teller puts the events of one invitation into words.
type teller struct {
	c        *Console
	org, you string
	names    map[string]string
	email    string
}

// who names the member or the app behind an act.
func (t *teller) who(by string) string {
	switch {
	case by == "":
		return "somebody"
	case by == t.you:
		return "you"
	case strings.HasPrefix(by, events.PrefixKey+"_"):
		return "an app"
	}
	return cmp.Or(t.names[by], "a former member")
}

// tell is one event in words; false for what says nothing to people.
func (t *teller) tell(e events.Event) (step, bool) {
	switch d := e.Data.(type) {
	case *events.InvitationRequested:
		t.email = d.Email
		s := step{Icon: "user-plus", Tone: "lead", Text: "Invited by " + inviter(d)}
		if d.InviterPerson != "" && d.InviterPerson == t.you {
			s.Text = "Invited by you"
		}
		s.More = "as " + d.Role
		if d.Renewal {
			s.Text = "Invited again, because the invitee asked for a new link"
		}
		return s, true
	case *events.InvitationSent:
		return step{Icon: "send", Text: map[string]string{events.PurposeResend: "E-mail sent again"}[d.Purpose], More: "to " + t.email}.or("E-mail sent"), true
	case *events.InvitationDelivered:
		return step{Icon: "mail-check", Tone: "good", Text: "Delivered", More: "the receiving server took the e-mail"}, true
	case *events.InvitationDeferred:
		return step{Icon: "hourglass", Tone: "warn", Text: "Delayed", More: "the receiving server asks to try later; it is tried again by itself"}, true
	case *events.InvitationBounced:
		return step{Icon: "mail-x", Tone: "bad", Text: "Bounced: " + bounce(d.Delivery), More: status(d.Delivery)}, true
	case *events.InvitationComplained:
		return step{Icon: "triangle-alert", Tone: "bad", Text: "Marked as spam by the invitee", More: "no more e-mails go there"}, true
	}
	return t.tellMore(e)
}

func (t *teller) tellMore(e events.Event) (step, bool) {
	switch d := e.Data.(type) {
	case *events.InvitationResendRequested:
		s := step{Icon: "rotate-cw", Text: "Resent by " + t.who(d.By), More: "with the same link; the deadline moved"}
		if d.Generation > 1 {
			s.More = "link number " + strconv.Itoa(d.Generation) + "; older links say that a newer e-mail was sent"
		}
		return s, true
	case *events.InvitationReminded:
		return step{Icon: "clock", Text: "Reminder sent"}, true
	case *events.InvitationAcceptRefused:
		return step{Icon: "shield", Tone: "warn", Text: "Somebody with the link was turned away", More: refusedBecause(d.Reason)}, true
	case *events.InvitationOpened:
		return step{Icon: "eye", Text: "The link was opened"}, true
	case *events.InvitationRenewalAsked:
		return step{Icon: "refresh-cw", Text: "A new link was asked for", More: "by somebody with the expired link"}, true
	case *events.InvitationNoticed:
		return step{Icon: "mail", Text: "The inviter was told", More: "by e-mail: " + d.About}, true
	case *events.InvitationAccepted:
		return step{Icon: "circle-check", Tone: "good", Text: "Accepted", More: named(d.Name)}, true
	case *events.InvitationDeclined:
		return step{Icon: "circle-slash", Text: "Declined", More: quoted(d.Reason)}, true
	case *events.InvitationRevoked:
		return step{Icon: "ban", Text: "Revoked by " + t.who(d.By), More: revokedBecause(d.Reason)}, true
	case *events.InvitationExpired:
		return step{Icon: "clock", Tone: "warn", Text: "Expired", More: "no answer came in time"}, true
	case *events.InvitationRejected:
		return step{Icon: "circle-x", Tone: "bad", Text: "Rejected", More: d.Detail}, true
	case *events.MembershipProvisioned:
		return step{Icon: "users", Tone: "good", Text: "Joined", More: "as " + d.Role}, true
	case *events.MembershipRoleChanged:
		return step{Icon: "shield", Text: "Role changed by " + t.who(d.By), More: "from " + d.PreviousRole + " to " + d.Role}, true
	case *events.MembershipRemoved:
		return step{Icon: "user-minus", Text: "Removed by " + t.who(d.By)}, true
	}
	return step{}, false
}

func (s step) or(text string) step {
	s.Text = cmp.Or(s.Text, text)
	return s
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return "as " + name
}

// status is the receiving server's own number, for whoever looks closer.
func status(d events.Delivery) string {
	if d.Code == 0 {
		return ""
	}
	return "the receiving server answered " + strconv.Itoa(d.Code)
}

// mailPolicy lets a mail be looked at in its frame: it has its styles inside, and may run nothing, load nothing and lead
// nowhere.
const mailPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"

// letterPatience is how long a page waits for the mailer to show the mail.
const letterPatience = 3 * time.Second

func (c *Console) letter(ctx context.Context, record invitation.Record) (proofs.Proof, error) {
	ctx, cancel := context.WithTimeout(ctx, letterPatience)
	defer cancel()
	return c.Desk.Letter(ctx, record.Organization, record.ID)
}

// mail shows the HTML part of the mail as sent, for the frame on the invitation's page.
func (c *Console) mail(w http.ResponseWriter, r *http.Request, v visit) error {
	if err := c.managing(v); err != nil {
		return err
	}
	record, err := c.Desk.Invitation(r.Context(), v.org.ID, r.PathValue("id"))
	if err != nil {
		return err
	}
	letter, err := c.letter(r.Context(), record)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Security-Policy", mailPolicy)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(letter.HTML)) // the reader has gone; there is nobody to tell
	return nil
}

func (c *Console) resend(w http.ResponseWriter, r *http.Request, v visit) error {
	rotate := r.PostFormValue("link") == "new"
	fresh, err := c.Desk.Resend(r.Context(), v.org.ID, r.PathValue("id"), rotate, r.PostFormValue("anyway") == "yes")
	if err != nil {
		return c.invitationRefused(w, r, v, "invitation", err, "")
	}
	code := "resent"
	if rotate {
		code = "rotated"
	}
	see(w, "/console/"+v.org.ID+"/invitations/"+fresh.ID+"?done="+code)
	return nil
}

func (c *Console) revoke(w http.ResponseWriter, r *http.Request, v visit) error {
	id := r.PathValue("id")
	if err := c.Desk.Revoke(r.Context(), v.org.ID, id); err != nil {
		return c.invitationRefused(w, r, v, "invitation", err, "")
	}
	see(w, "/console/"+v.org.ID+"/invitations/"+id+"?done=revoked")
	return nil
}

func (c *Console) readdress(w http.ResponseWriter, r *http.Request, v visit) error {
	typed := strings.TrimSpace(r.PostFormValue("email"))
	fresh, err := c.Desk.Readdress(r.Context(), v.org.ID, r.PathValue("id"), typed)
	if err != nil {
		return c.invitationRefused(w, r, v, "invitation", err, typed)
	}
	see(w, "/console/"+v.org.ID+"/invitations/"+fresh.ID+"?done=readdressed")
	return nil
}

// invitationRefused shows the invitation again with why nothing was done, and keeps what was typed.
func (c *Console) invitationRefused(w http.ResponseWriter, r *http.Request, v visit, name string, err error, typed string) error {
	e := problem.As(err)
	if e.Code == problem.NotFound || e.Code == problem.NotNow || e.Code == problem.NoAuthority {
		return err
	}
	return c.showInvitation(w, r, v, name, e.Status(), err, typed)
}
