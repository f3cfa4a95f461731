package api

import (
	"context"
	"time"

	"github.com/usherhq/usher/pkg/invitation"
	"github.com/usherhq/usher/pkg/redeem"
)

type lookupInput struct {
	Body struct {
		Token string `json:"token" maxLength:"200" doc:"The last part of the link."`
	}
}

// preview is what the holder of a link sees.
type preview struct {
	Organization organizationName  `json:"organization"`
	Inviter      inviterName       `json:"inviter"`
	Role         string            `json:"role"`
	Email        string            `json:"email" doc:"The invitee's address, masked."`
	Status       invitation.Status `json:"status" enum:"pending,accepted,declined,revoked,expired"`
	ExpiresAt    time.Time         `json:"expires_at"`
	Invitee      string            `json:"invitee" enum:"new,existing" doc:"Whether the person is a member somewhere already."`
}

type organizationName struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type inviterName struct {
	Name string `json:"name"`
}

func previewOf(p redeem.Preview) preview {
	return preview{
		Organization: organizationName{ID: p.Organization.ID, Name: p.Organization.Name}, Inviter: inviterName{Name: p.Record.Request.InviterName},
		Role: p.Record.Request.Role, Email: p.Email, Status: p.Status, ExpiresAt: p.Record.Deadline, Invitee: p.Invitee,
	}
}

type lookupOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         preview
}

func (s *Service) lookup(ctx context.Context, in *lookupInput) (*lookupOutput, error) {
	p, err := s.redeemer.Lookup(ctx, in.Body.Token)
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	return &lookupOutput{CacheControl: "no-store", Body: previewOf(p)}, nil
}

type acceptInput struct {
	Body struct {
		Token  string `json:"token" maxLength:"200" doc:"The last part of the link."`
		Name   string `json:"name,omitempty" maxLength:"200" doc:"How a new person wants to be called."`
		Locale string `json:"locale,omitempty" maxLength:"35" doc:"Language the person wants to be spoken to in, as BCP 47." example:"en"`
	}
}

type acceptOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Status       invitation.Status     `json:"status" enum:"accepted"`
		Organization organizationName      `json:"organization"`
		Role         string                `json:"role"`
		Membership   invitation.Membership `json:"membership" enum:"provisioning,active"`
		RedirectURL  string                `json:"redirect_url,omitempty"`
	}
}

func (s *Service) acceptLink(ctx context.Context, in *acceptInput) (*acceptOutput, error) {
	if err := s.ready(); err != nil {
		return nil, s.refusal(err, "")
	}
	success, err := s.redeemer.Accept(ctx, in.Body.Token, redeem.By{Name: in.Body.Name, Locale: in.Body.Locale})
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	out := &acceptOutput{CacheControl: "no-store"}
	out.Body.Status, out.Body.Role, out.Body.Membership = success.Status, success.Record.Request.Role, success.Membership
	out.Body.Organization = organizationName{ID: success.Organization.ID, Name: success.Organization.Name}
	out.Body.RedirectURL = success.Continue()
	return out, nil
}

type declineInput struct {
	Body struct {
		Token  string `json:"token" maxLength:"200" doc:"The last part of the link."`
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

func (s *Service) declineLink(ctx context.Context, in *declineInput) (*lookupOutput, error) {
	if err := s.ready(); err != nil {
		return nil, s.refusal(err, "")
	}
	p, err := s.redeemer.Decline(ctx, in.Body.Token, in.Body.Reason)
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	return &lookupOutput{CacheControl: "no-store", Body: previewOf(p)}, nil
}

type renewOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         struct {
		Preview preview `json:"preview"`
		Renewed bool    `json:"renewed" doc:"True: a new invitation is being mailed to the same address. False: the inviter is told of the wish."`
	}
}

func (s *Service) renewLink(ctx context.Context, in *lookupInput) (*renewOutput, error) {
	if err := s.ready(); err != nil {
		return nil, s.refusal(err, "")
	}
	answer, err := s.redeemer.Renew(ctx, in.Body.Token)
	if err != nil {
		return nil, s.refusal(err, "body.")
	}
	out := &renewOutput{CacheControl: "no-store"}
	out.Body.Preview, out.Body.Renewed = previewOf(answer.Preview), answer.Renewed
	return out, nil
}
