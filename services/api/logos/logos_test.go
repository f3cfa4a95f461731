package logos_test

import (
	"bytes"
	"encoding/base64"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/brokertest"
	"github.com/usherhq/usher/pkg/ledger"
	"github.com/usherhq/usher/pkg/problem"
	"github.com/usherhq/usher/pkg/roster"
	"github.com/usherhq/usher/services/api/logos"
)

func drawing(width, height int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, width, height))
	for x := range width {
		m.Set(x, x%height, color.NRGBA{R: uint8(x), G: 118, B: 110, A: 255})
	}
	return m
}

func encoded(t *testing.T, encode func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, encode(&b))
	return b.Bytes()
}

func asPNG(t *testing.T, m image.Image) []byte {
	return encoded(t, func(b *bytes.Buffer) error { return png.Encode(b, m) })
}

// tinyWebP is one pixel, lossless.
const tinyWebP = "UklGRhoAAABXRUJQVlA4TA0AAAAvAAAAEAcQERGIiP4HAA=="

func TestPicturesOfEveryKindBecomeOnesThatMailProgramsShow(t *testing.T) {
	webp, err := base64.StdEncoding.DecodeString(tinyWebP)
	require.NoError(t, err)
	for kind, file := range map[string][]byte{
		"png":  asPNG(t, drawing(240, 80)),
		"jpeg": encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, drawing(240, 80), nil) }),
		"gif":  encoded(t, func(b *bytes.Buffer) error { return gif.Encode(b, drawing(240, 80), nil) }),
		"webp": webp,
	} {
		got, err := logos.Read(file)
		require.NoError(t, err, kind)
		config, kept, err := image.DecodeConfig(bytes.NewReader(got.Data))
		require.NoError(t, err)
		if kind != "webp" {
			require.Equal(t, []int{240, 80}, []int{config.Width, config.Height})
		}
		want, ending := "png", ".png"
		if kind == "jpeg" {
			want, ending = "jpeg", ".jpg"
		}
		require.Equal(t, want, kept)
		require.Regexp(t, "^[0-9a-f]{32}\\"+ending+"$", got.Name)
		again, err := logos.Read(file)
		require.NoError(t, err)
		require.Equal(t, got.Name, again.Name, "the name follows from the content")
	}
	one, err := logos.Read(asPNG(t, drawing(10, 10)))
	require.NoError(t, err)
	other, err := logos.Read(asPNG(t, drawing(11, 10)))
	require.NoError(t, err)
	require.NotEqual(t, one.Name, other.Name)
}

// What is a picture and something else at once is only a picture afterwards.
func TestNothingButThePixelsIsKept(t *testing.T) {
	const script = "<script>alert(document.domain)</script>"
	hidden := asPNG(t, drawing(20, 20))
	hidden = append(hidden, script...)
	comment := encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, drawing(20, 20), nil) })
	segment := append([]byte{0xff, 0xfe, 0, byte(len(script) + 2)}, script...)
	comment = append(append(append([]byte{}, comment[:2]...), segment...), comment[2:]...)
	animated := encoded(t, func(b *bytes.Buffer) error { return gif.Encode(b, drawing(20, 20), nil) })
	animated = append(animated, "*/=1;"+script...)
	for name, file := range map[string][]byte{"behind a png": hidden, "in a jpeg": comment, "behind a gif": animated} {
		require.Contains(t, string(file), script)
		got, err := logos.Read(file)
		require.NoError(t, err, name)
		require.NotContains(t, string(got.Data), "script", name)
	}
}

func TestWhatIsNoPictureOrTooLargeIsRefusedWithTheReason(t *testing.T) {
	noise := image.NewNRGBA(image.Rect(0, 0, 400, 400))
	for i := range noise.Pix {
		noise.Pix[i] = byte(rand.Uint32()) // nothing that could be made smaller
	}
	whole := asPNG(t, drawing(200, 200))
	for name, c := range map[string]struct {
		file []byte
		why  string
	}{
		"svg":                 {[]byte(`<?xml version="1.0"?><SVG xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`), "is an SVG"},
		"html":                {[]byte("<html><script>alert(1)</script>"), "is no picture"},
		"html called gif":     {[]byte("GIF89a<script>alert(1)</script>"), "is larger than 2000 pixels"}, // its letters read as a size
		"empty":               {nil, "is no picture"},
		"pdf":                 {[]byte("%PDF-1.7"), "is no picture"},
		"cut off":             {whole[:len(whole)/2], "is damaged"},
		"too wide":            {asPNG(t, image.NewGray(image.Rect(0, 0, 2001, 1))), "is larger than 2000 pixels"},
		"too high":            {asPNG(t, image.NewGray(image.Rect(0, 0, 1, 2001))), "is larger than 2000 pixels"},
		"a bomb":              {asPNG(t, image.NewGray(image.Rect(0, 0, 5000, 5000))), "is larger than 2000 pixels"},
		"too many bytes":      {asPNG(t, noise), "is larger than 256 KB"},
		"one byte over":       {append(whole, make([]byte, logos.MaxBytes)...), "is larger than 256 KB"},
		"a picture's picture": {[]byte("RIFF\x00\x00\x00\x00WEBPVP8X"), "is no picture"},
	} {
		_, err := logos.Read(c.file)
		require.True(t, problem.Is(err, problem.Invalid), "%s: %v", name, err)
		require.ErrorContains(t, err, "logo: "+c.why, name)
	}
}

type setup struct {
	*logos.Logos
	roster *roster.Roster
	mux    *http.ServeMux
}

func open(t *testing.T) *setup {
	t.Helper()
	l, err := ledger.Open(t.Context(), brokertest.Run(t).Conn(t), ledger.Options{Durable: ledger.Durability{Declared: true}})
	require.NoError(t, err)
	t.Cleanup(l.Close)
	s := &setup{mux: http.NewServeMux()}
	s.roster, err = roster.Open(t.Context(), l, roster.DefaultRoles)
	require.NoError(t, err)
	s.Logos, err = logos.Open(t.Context(), l, s.roster, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s.mux.Handle("GET /logos/{org}/{logo}", s.Logos)
	return s
}

func (s *setup) name(t *testing.T, org, logo string) {
	t.Helper()
	_, _, err := s.roster.Put(t.Context(), roster.Organization{ID: org, Name: org, Branding: roster.Branding{Logo: logo}})
	require.NoError(t, err)
}

func (s *setup) get(path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestALogoIsShownAsAPictureAndNothingElse(t *testing.T) {
	s := open(t)
	p, err := logos.Read(asPNG(t, drawing(240, 80)))
	require.NoError(t, err)
	require.NoError(t, s.Put(t.Context(), "acme", p))
	require.Equal(t, http.StatusNotFound, s.get("/logos/acme/"+p.Name).Code, "no organization names it yet")
	s.name(t, "acme", p.Name)
	for range 2 { // from the ledger, then from memory
		w := s.get("/logos/acme/" + p.Name)
		require.Equal(t, http.StatusOK, w.Code)
		require.Equal(t, p.Data, w.Body.Bytes())
		require.Equal(t, "image/png", w.Header().Get("Content-Type"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Equal(t, "public, max-age=31536000, immutable", w.Header().Get("Cache-Control"))
		require.Equal(t, "default-src 'none'; sandbox", w.Header().Get("Content-Security-Policy"))
	}
	s.name(t, "globex", "")
	for _, path := range []string{"/logos/globex/" + p.Name, "/logos/nobody/" + p.Name, "/logos/Acme!/x.png"} {
		require.Equal(t, http.StatusNotFound, s.get(path).Code, path)
	}
}

func TestAMailFromBeforeShowsThePresentLogo(t *testing.T) {
	s := open(t)
	old, err := logos.Read(asPNG(t, drawing(20, 20)))
	require.NoError(t, err)
	next, err := logos.Read(encoded(t, func(b *bytes.Buffer) error { return jpeg.Encode(b, drawing(30, 30), nil) }))
	require.NoError(t, err)
	for _, p := range []logos.Picture{old, next} {
		require.NoError(t, s.Put(t.Context(), "acme", p))
		s.name(t, "acme", p.Name)
		require.Equal(t, http.StatusOK, s.get("/logos/acme/"+p.Name).Code)
	}
	require.NoError(t, s.Delete(t.Context(), "acme", old.Name))
	w := s.get("/logos/acme/" + old.Name)
	require.Equal(t, http.StatusFound, w.Code)
	require.Equal(t, next.Name, w.Header().Get("Location"))
	require.Equal(t, "no-cache", w.Header().Get("Cache-Control"))
	require.Equal(t, "image/jpeg", s.get("/logos/acme/"+next.Name).Header().Get("Content-Type"))
	for _, hostile := range []string{"..%2f..%2fetc", "%0d%0aSet-Cookie:%20a=b", strings.Repeat("a", 5000)} {
		require.Equal(t, next.Name, s.get("/logos/acme/"+hostile).Header().Get("Location"), "where it leads has nothing of what was asked")
	}
	s.name(t, "acme", "")
	require.NoError(t, s.Delete(t.Context(), "acme", next.Name))
	require.Equal(t, http.StatusNotFound, s.get("/logos/acme/"+next.Name).Code)
}
