package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/usherhq/usher/pkg/failpoint"
)

// deskErrands are about what managers and apps do beside inviting.
var deskErrands = []*errand{
	{
		to: []failpoint.Name{
			failpoint.ImportOpened, failpoint.ImportPageKept, failpoint.ImportRead, failpoint.ImportClaimed, failpoint.ImportRow,
			failpoint.ImportInvited, failpoint.ImportPageSent, failpoint.ImportCounted,
		},
		round: importFour, side: 6, rare: true,
	},
	{to: []failpoint.Name{failpoint.ImportForgetting}, round: uploadNobody, side: 1, rare: true},
	{to: []failpoint.Name{failpoint.OrganizationStored, failpoint.OrganizationOwned}, round: found},
	{to: []failpoint.Name{failpoint.LogoKept, failpoint.LogoNamed}, round: changeLogo, signIn: true, rare: true},
	{to: []failpoint.Name{failpoint.AcceptanceRefusing, failpoint.AcceptanceTold}, round: loseAuthority, side: 1, rare: true},
}

// importFour invites four people by a file.
func importFour(ctx context.Context, t *traffic, n int) {
	t.importAll(ctx, "errand-"+strconv.Itoa(n), t.newcomers(4, doorImport, endAccept))
}

// uploadNobody uploads a file in which nobody stands: it is refused, and nothing of it is kept.
func uploadNobody(ctx context.Context, t *traffic, _ int) {
	a := insist(ctx, func() answer { return t.upload(ctx, []byte("email,role\n"), "") })
	if a.yes() || !a.open() && a.status/100 != 4 {
		t.must(func(context.Context, *stored) string {
			return "a file in which nobody stands was answered " + a.String()
		})
	}
}

// found makes an organization. Its owner is a member from then on.
func found(ctx context.Context, t *traffic, n int) { t.foundAs(ctx, fmt.Sprintf("%s-o%d", t.org, n)) }

func (t *traffic) foundAs(ctx context.Context, org string) (owner string, ok bool) {
	owner = "owner." + org + "@example.org"
	a := insist(ctx, func() answer {
		return t.putOrganization(ctx, org, map[string]any{"name": "Founded", "owner": map[string]string{"email": owner}})
	})
	if !a.yes() {
		return owner, false
	}
	t.must(func(_ context.Context, s *stored) string {
		if owners := s.owners[org]; len(owners) != 1 || owners[0] != owner {
			return fmt.Sprintf("%s was founded by %s, and its owners are %v", org, owner, owners)
		}
		return ""
	})
	return owner, true
}

func (t *traffic) putOrganization(ctx context.Context, org string, what map[string]any) answer {
	return request(ctx, http.MethodPut, t.any()+"/v1/organizations/"+org, what, t.machine(""))
}

// changeLogo makes an organization and puts one logo after the other. The last is what everybody sees.
func changeLogo(ctx context.Context, t *traffic, n int) {
	org := fmt.Sprintf("%s-l%d", t.org, n)
	owner, ok := t.foundAs(ctx, org)
	if !ok {
		return
	}
	for shade := range uint8(3) {
		picture := square(color.Gray{Y: 80 * shade})
		if a := insist(ctx, func() answer { return t.putLogo(ctx, org, owner, picture) }); !a.yes() {
			if !a.open() {
				t.must(func(context.Context, *stored) string { return "a logo was answered " + a.String() })
			}
			return
		}
	}
	name := t.logo(ctx, org)
	t.must(func(ctx context.Context, _ *stored) string {
		now := t.logo(ctx, org)
		a := insist(ctx, func() answer { return request(ctx, http.MethodGet, t.any()+"/logos/"+org+"/"+now, nil, nil) })
		if now == "" || now != name || !a.yes() {
			return fmt.Sprintf("the logo of %s was %q, is %q, and whoever looks at it is answered %d", org, name, now, a.status)
		}
		return ""
	})
}

// square is a picture of one colour.
func square(c color.Gray) []byte {
	pixels := image.NewGray(image.Rect(0, 0, 8, 8))
	for i := range pixels.Pix {
		pixels.Pix[i] = c.Y
	}
	var file bytes.Buffer
	_ = png.Encode(&file, pixels) // into memory
	return file.Bytes()
}

// logo is the name of an organization's logo.
func (t *traffic) logo(ctx context.Context, org string) string {
	a := insist(ctx, func() answer { return t.putOrganization(ctx, org, map[string]any{"name": "Founded"}) })
	var body struct{ Branding struct{ Logo string } }
	_ = json.Unmarshal(a.body, &body) // of no answer there is none
	return body.Branding.Logo
}

// putLogo signs an owner in and uploads a picture in the console.
func (t *traffic) putLogo(ctx context.Context, org, owner string, picture []byte) answer {
	b := &browser{cluster: t.cluster, cookies: map[string]string{}}
	if a := b.signIn(ctx, owner); a.status != http.StatusSeeOther {
		return a
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	_ = form.WriteField("do", "upload") // into memory, as all of it
	_ = form.WriteField("name", "Founded")
	if part, err := form.CreateFormFile("logo", "logo.png"); err == nil {
		_, _ = part.Write(picture)
	}
	_ = form.Close()
	return b.sendBody(ctx, http.MethodPost, "/console/"+org+"/settings", form.FormDataContentType(), &body)
}

// signIn signs somebody in by way of the issuer.
func (b *browser) signIn(ctx context.Context, email string) answer {
	begun := b.send(ctx, http.MethodGet, "/signin?return_to=/console", nil)
	if begun.status != http.StatusSeeOther {
		return begun
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, begun.header.Get("Location")+"&login_hint="+url.QueryEscape(email), nil)
	if err != nil {
		return answer{err: err}
	}
	asked, err := steady.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer asked.Body.Close()
	back, err := asked.Location()
	if err != nil {
		return answer{err: err}
	}
	return b.send(ctx, http.MethodGet, back.RequestURI(), nil)
}

// loseAuthority has people accept whose inviter is removed before that has led to anything.
func loseAuthority(ctx context.Context, t *traffic, _ int) {
	admin := t.newcomer(doorHTTP, endAccept)
	admin.role = "admin"
	t.tell(ctx, admin)
	person := t.memberOnce(ctx, admin)
	if person == "" {
		return
	}
	some := t.newcomers(4, doorHTTP, endLost)
	together(some, func(s *story) {
		s.inviter = admin.email
		t.invitedAndMailed(ctx, s)
	})
	thaw := t.freeze("acceptance")
	together(some, func(s *story) {
		if !s.lonely && s.id != "" {
			t.accept(ctx, s, t.mailsOf(s)[0])
		}
	})
	a := insist(ctx, func() answer {
		return request(ctx, http.MethodDelete, t.any()+"/v1/organizations/"+t.org+"/members/"+person, nil, t.owner(""))
	})
	thaw()
	admin.left = a.yes()
	wait(ctx, time.Second) // for whoever died of it to be there again
}

// memberOnce waits until somebody who accepted is a member, and gives the name that they have in addresses.
func (t *traffic) memberOnce(ctx context.Context, s *story) string {
	for len(s.accepted) > 0 && wait(ctx, 50*time.Millisecond) {
		if person := t.person(ctx, s.email); person != "" {
			return person
		}
	}
	return ""
}
