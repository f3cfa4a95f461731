package links_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/links"
)

const invitation = "inv_01h455vb4pex5vsknk084sn02q"

// key is random enough to pass, and the same in every run.
func key(seed byte) string {
	b := make([]byte, 32)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

func ring(t testing.TB, list string) *links.Ring {
	t.Helper()
	r, err := links.ParseRing(list)
	require.NoError(t, err)
	return r
}

func derive(t testing.TB, r *links.Ring, purpose links.Purpose, generation int) links.Token {
	t.Helper()
	token, err := r.Derive(purpose, invitation, generation)
	require.NoError(t, err)
	return token
}

func TestATokenSaysWhatItWasMadeFor(t *testing.T) {
	r := ring(t, "7:"+key(7))
	token := derive(t, r, links.PurposeInvite, 3)
	claim, err := r.Verify(links.PurposeInvite, token.Reveal())
	require.NoError(t, err)
	require.Equal(t, links.Claim{Invitation: invitation, Generation: 3, KeyID: 7}, claim)
}

func TestEveryWorkerMakesTheSameToken(t *testing.T) {
	one, other := ring(t, "1:"+key(1)), ring(t, "1:"+key(1)+",2:"+key(2))
	require.Equal(t, derive(t, one, links.PurposeInvite, 1), derive(t, other, links.PurposeInvite, 1))
}

// The published layout, taken apart with nothing of this package.
func TestATokenHasThePublishedLayout(t *testing.T) {
	token := derive(t, ring(t, "9:"+key(9)), links.PurposeInvite, 2).Reveal()
	raw, err := base64.RawURLEncoding.DecodeString(token)
	require.NoError(t, err)
	require.Len(t, raw, 43)
	id, err := events.ParseID(events.PrefixInvitation, invitation)
	require.NoError(t, err)
	require.Equal(t, append([]byte{1, 9, 2}, id[:]...), raw[:19])
	// Signed by another program with the same key.
	require.Equal(t, "AQkCAYkKXayWd0u8zrMCCZqAV90qHH_jSauU5amYHqlzZp-FbZSJ1_kNUg", token)
}

func TestTokensOfOtherPurposesGenerationsInvitationsAndKeysDiffer(t *testing.T) {
	r := ring(t, "1:"+key(1))
	another, err := r.Derive(links.PurposeInvite, events.NewInvitationID(), 1)
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, token := range []links.Token{
		derive(t, r, links.PurposeInvite, 1), derive(t, r, links.PurposeInvite, 2), derive(t, r, links.PurposeUnsubscribe, 1),
		another, derive(t, ring(t, "1:"+key(2)), links.PurposeInvite, 1), derive(t, ring(t, "2:"+key(1)), links.PurposeInvite, 1),
	} {
		require.False(t, seen[token.Reveal()])
		seen[token.Reveal()] = true
	}
}

// T179: nothing but the exact text opens anything.
func TestAnyChangeToATokenIsAForgery(t *testing.T) {
	r := ring(t, "1:"+key(1)+",2:"+key(2))
	token := derive(t, r, links.PurposeInvite, 1).Reveal()
	forged := []string{
		"", " ", token + "=", token + "==", token + " ", " " + token, token + "\n", token[:57], token[:57] + "\n", token + "A",
		strings.ToUpper(token), "null", "undefined", strings.Repeat("A", 58), strings.Repeat("A", 1<<20), "\x00", token[1:] + token[:1],
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=.\n\r\x00 \xff"
	for i := range token {
		for _, c := range []byte(alphabet) {
			if token[i] != c {
				forged = append(forged, token[:i]+string([]byte{c})+token[i+1:])
			}
		}
		forged = append(forged, token[:i]+"\n"+token[i:], token[:i]+token[i+1:])
	}
	for _, text := range forged {
		claim, err := r.Verify(links.PurposeInvite, text)
		require.ErrorIs(t, err, links.ErrForged, "%q", text)
		require.Zero(t, claim)
	}
}

// forge signs a token as Derive does, with whatever version, key id and key the forger likes.
func forge(version, keyID byte, key []byte) string {
	head := append([]byte{version, keyID, 1}, make([]byte, 16)...)
	mac := hmac.New(sha256.New, key)
	mac.Write(head)
	mac.Write([]byte("invite"))
	return base64.RawURLEncoding.EncodeToString(append(head, mac.Sum(nil)[:24]...))
}

func TestOnlyKnownKeysAndVersionsCount(t *testing.T) {
	r := ring(t, "1:"+key(1))
	known, err := base64.StdEncoding.DecodeString(key(1))
	require.NoError(t, err)
	_, err = r.Verify(links.PurposeInvite, forge(1, 1, known))
	require.NoError(t, err)

	_, err = r.Verify(links.PurposeInvite, forge(2, 1, known))
	require.ErrorIs(t, err, links.ErrForged, "a version that does not exist yet")
	_, err = r.Verify(links.PurposeInvite, forge(1, 2, nil))
	require.ErrorIs(t, err, links.ErrForged, "an unknown key id must not mean an empty key")
}

func TestATokenOpensNoOtherPurpose(t *testing.T) {
	r := ring(t, "1:"+key(1))
	_, err := r.Verify(links.PurposeInvite, derive(t, r, links.PurposeUnsubscribe, 1).Reveal())
	require.ErrorIs(t, err, links.ErrForged)
	_, err = r.Verify(links.PurposeUnsubscribe, derive(t, r, links.PurposeInvite, 1).Reveal())
	require.ErrorIs(t, err, links.ErrForged)
}

// T177, V060: what the store knows of a token is not itself a token.
func TestTheHashOfATokenIsNoToken(t *testing.T) {
	r := ring(t, "1:"+key(1))
	hash := derive(t, r, links.PurposeInvite, 1).Hash()
	for _, text := range []string{
		base64.RawURLEncoding.EncodeToString(hash[:]), fmt.Sprintf("%x", hash), string(hash[:]),
	} {
		_, err := r.Verify(links.PurposeInvite, text)
		require.ErrorIs(t, err, links.ErrForged)
	}
	require.Equal(t, hash, links.Hash(derive(t, r, links.PurposeInvite, 1).Reveal()))
}

func TestKeysRotateWithoutBreakingLinks(t *testing.T) {
	old := derive(t, ring(t, "1:"+key(1)), links.PurposeInvite, 1).Reveal()
	rotated := ring(t, "2:"+key(2)+",1:"+key(1))

	claim, err := rotated.Verify(links.PurposeInvite, old)
	require.NoError(t, err)
	require.Equal(t, 1, claim.KeyID)

	claim, err = rotated.Verify(links.PurposeInvite, derive(t, rotated, links.PurposeInvite, 1).Reveal())
	require.NoError(t, err)
	require.Equal(t, 2, claim.KeyID, "the first key of the list signs")

	_, err = ring(t, "2:"+key(2)).Verify(links.PurposeInvite, old)
	require.ErrorIs(t, err, links.ErrForged, "a key that was taken away opens nothing")
	_, err = ring(t, "1:"+key(2)).Verify(links.PurposeInvite, old)
	require.ErrorIs(t, err, links.ErrForged, "another key under the same id opens nothing")
}

func TestOnlyInvitationsAndGenerationsThatFitGetTokens(t *testing.T) {
	r := ring(t, "1:"+key(1))
	for _, id := range []string{"", "inv_", "evt_01h455vb4pex5vsknk084sn02q", "01h455vb4pex5vsknk084sn02q", invitation + "0"} {
		_, err := r.Derive(links.PurposeInvite, id, 1)
		require.ErrorIs(t, err, events.ErrBadID, id)
	}
	for _, generation := range []int{-1, 256, 1 << 40} {
		_, err := r.Derive(links.PurposeInvite, invitation, generation)
		require.ErrorContains(t, err, "generation")
	}
	derive(t, r, links.PurposeInvite, 0)
	derive(t, r, links.PurposeInvite, links.MaxGeneration)
}

func TestEveryTokenIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := links.ParseRing(fmt.Sprintf("%d:%s", rapid.IntRange(0, 255).Draw(t, "id"), key(rapid.Byte().Draw(t, "key"))))
		require.NoError(t, err)
		want := links.Claim{
			Invitation: events.FormatID(events.PrefixInvitation, [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "uuid"))),
			Generation: rapid.IntRange(0, 255).Draw(t, "generation"),
		}
		token, err := r.Derive(links.PurposeInvite, want.Invitation, want.Generation)
		require.NoError(t, err)
		require.Len(t, token.Reveal(), 58)
		got, err := r.Verify(links.PurposeInvite, token.Reveal())
		require.NoError(t, err)
		want.KeyID = got.KeyID
		require.Equal(t, want, got)
	})
}

func TestATokenDoesNotShowItself(t *testing.T) {
	token := derive(t, ring(t, "1:"+key(1)), links.PurposeInvite, 1)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("mail", "token", token, "nested", struct{ T links.Token }{token}, "in", []any{token})
	slog.New(slog.NewTextHandler(&log, nil)).Info("mail", "token", token, "nested", struct{ T links.Token }{token})
	marshalled, err := json.Marshal(map[string]any{"a": token, "b": &token, "c": struct{ T links.Token }{token}})
	require.NoError(t, err)
	all := log.String() + string(marshalled) + fmt.Sprintf("%v %+v %#v %s %q %x", token, token, token, token, token, token) +
		fmt.Sprintf("%v %+v %#v", struct{ T links.Token }{token}, &token, []links.Token{token})
	require.NotContains(t, all, token.Reveal())
	require.NotContains(t, all, fmt.Sprintf("%x", token.Reveal()))
}

func TestKeysDoNotShowThemselves(t *testing.T) {
	r := ring(t, "1:"+key(1))
	raw, err := base64.StdEncoding.DecodeString(key(1))
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("start", "keys", r)
	all := log.String() + fmt.Sprintf("%v %+v %#v %s", r, r, r, struct{ R *links.Ring }{r})
	require.NotContains(t, all, strings.Trim(fmt.Sprint(raw[:4]), "[]"))
	require.NotContains(t, all, "uint8")
}

func TestARingWithoutKeysMakesNothingAndOpensNothing(t *testing.T) {
	var empty links.Ring
	_, err := empty.Derive(links.PurposeInvite, invitation, 1)
	require.ErrorIs(t, err, links.ErrNoKey)
	_, err = empty.Verify(links.PurposeInvite, derive(t, ring(t, "0:"+key(1)), links.PurposeInvite, 1).Reveal())
	require.ErrorIs(t, err, links.ErrForged)
}

func TestLinksStandUnderThePublicURL(t *testing.T) {
	token := derive(t, ring(t, "1:"+key(1)), links.PurposeInvite, 1)
	require.Equal(t, "https://usher.example/i/"+token.Reveal(), links.URL("https://usher.example", token))
	require.Equal(t, "https://usher.example/i/"+token.Reveal(), links.URL("https://usher.example/", token))
	require.Equal(t, "https://usher.example/unsubscribe/"+token.Reveal(), links.UnsubscribeURL("https://usher.example", token))
}

func TestKeysThatCannotBeTrustedAreRefused(t *testing.T) {
	encode := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	counted := make([]byte, 32)
	for i := range counted {
		counted[i] = byte(i)
	}
	half, err := base64.StdEncoding.DecodeString(key(3))
	require.NoError(t, err)
	few := bytes.Clone(half)
	for i := range few {
		few[i] &= 7
	}
	for list, want := range map[string]string{
		"1:" + encode(few):              "not random",
		"":                              "key 1 of the list is not of the form",
		key(1):                          "not of the form",
		"x:" + key(1):                   "not a number from 0 to 255",
		"-1:" + key(1):                  "not a number from 0 to 255",
		"256:" + key(1):                 "not a number from 0 to 255",
		":" + key(1):                    "not a number from 0 to 255",
		"1:":                            "fewer than 32 bytes",
		"1:" + encode(half[:31]):        "fewer than 32 bytes",
		"1:!!!!" + key(1):               "not base64",
		"1:" + key(1) + ",":             "key 2 of the list is not of the form",
		"1:" + key(1) + ",1:" + key(2):  "key 2 of the list has an id that was given before",
		"1:" + key(1) + ",2:" + key(1):  "key 2 of the list was given before under another id",
		"1:" + encode(make([]byte, 32)): "not random",
		"1:" + encode(counted):          "not random",
		"1:" + encode(bytes.Repeat([]byte{0xab, 0xcd, 3}, 12)):                              "not random",
		"1:" + encode(append(half[:20:20], half[:20]...)):                                   "not random",
		"1:" + encode([]byte("change-me-to-a-long-random-secret-please")):                   "not random",
		"1:" + encode([]byte("0123456789abcdef0123456789abcdef")):                           "not random",
		"1:" + encode([]byte("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0")): "not random",
	} {
		_, err := links.ParseRing(list)
		require.ErrorContains(t, err, want, list)
		for _, seed := range []byte{1, 2} {
			require.NotContains(t, err.Error(), key(seed))
		}
	}
}

func TestAllFaultsOfAListAreNamedAtOnce(t *testing.T) {
	_, err := links.ParseRing("x:" + key(1) + ",2:" + key(2) + ",300:" + key(3))
	require.ErrorContains(t, err, "key 1 of the list")
	require.ErrorContains(t, err, "key 3 of the list")
	require.NotContains(t, err.Error(), "key 2")
}

func TestKeysAreReadInEveryUsualSpelling(t *testing.T) {
	want := derive(t, ring(t, "1:"+key(1)), links.PurposeInvite, 1)
	raw, err := base64.StdEncoding.DecodeString(key(1))
	require.NoError(t, err)
	for _, spelling := range []string{
		base64.RawStdEncoding.EncodeToString(raw), base64.URLEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw),
	} {
		require.Equal(t, want, derive(t, ring(t, "1:"+spelling), links.PurposeInvite, 1))
	}
	require.Equal(t, want, derive(t, ring(t, " 1:"+key(1)+" , 2:"+key(2)+" "), links.PurposeInvite, 1))
}

func TestANewKeyIsOneThatParseRingTakes(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		list := links.NewKey()
		ring(t, list)
		require.False(t, seen[list])
		seen[list] = true
	}
}

func FuzzVerify(f *testing.F) {
	r := ring(f, "1:"+key(1))
	f.Add(derive(f, r, links.PurposeInvite, 1).Reveal())
	f.Fuzz(func(t *testing.T, text string) {
		claim, err := r.Verify(links.PurposeInvite, text)
		if err != nil {
			return
		}
		again, err := r.Derive(links.PurposeInvite, claim.Invitation, claim.Generation)
		require.NoError(t, err)
		require.Equal(t, text, again.Reveal())
	})
}

func BenchmarkDerive(b *testing.B) {
	r := ring(b, "1:"+key(1))
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Derive(links.PurposeInvite, invitation, 1)
	}
}

func BenchmarkVerify(b *testing.B) {
	r := ring(b, "1:"+key(1))
	token := derive(b, r, links.PurposeInvite, 1).Reveal()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = r.Verify(links.PurposeInvite, token)
	}
}

func FuzzParseRing(f *testing.F) {
	f.Add("1:" + key(1))
	f.Add("0:" + key(1) + ", 255:" + key(2))
	f.Add("1:" + key(1) + ",1:" + key(2) + ",2:" + key(1) + ",:,")
	f.Fuzz(func(t *testing.T, list string) {
		r, err := links.ParseRing(list)
		require.Equal(t, err == nil, len(links.Faults(list)) == 0)
		if err != nil {
			for entry := range strings.SplitSeq(list, ",") { // of what is long enough to be a secret, nothing is told
				_, secret, _ := strings.Cut(entry, ":")
				require.False(t, len(secret) > 40 && strings.Contains(err.Error(), secret))
			}
			return
		}
		token, err := r.Derive(links.PurposeInvite, invitation, 1)
		require.NoError(t, err)
		_, err = r.Verify(links.PurposeInvite, token.Reveal())
		require.NoError(t, err)
	})
}

func TestEveryTokenThatVerifyTakesIsMade(t *testing.T) {
	both, before := ring(t, "2:"+key(2)+",1:"+key(1)), ring(t, "1:"+key(1))
	every, err := both.Every(links.PurposeInvite, invitation, 3)
	require.NoError(t, err)
	require.Equal(t, []links.Token{derive(t, both, links.PurposeInvite, 3), derive(t, before, links.PurposeInvite, 3)}, every)
	_, err = (&links.Ring{}).Every(links.PurposeInvite, invitation, 1)
	require.ErrorIs(t, err, links.ErrNoKey)
}
