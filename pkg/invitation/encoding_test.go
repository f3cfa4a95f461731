package invitation_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/usherhq/usher/events"
	"github.com/usherhq/usher/pkg/invitation"
)

// full has a value of its own in every field, so that one that is left out or swapped shows.
func full(t testing.TB) invitation.Record {
	r := invitation.Record{Request: &events.InvitationRequested{}}
	next := 0
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		next++
		switch {
		case v.Type() == reflect.TypeFor[time.Time]():
			v.Set(reflect.ValueOf(began.Add(time.Duration(next) * time.Nanosecond)))
		case v.Kind() == reflect.Pointer:
			fill(v.Elem())
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case v.Kind() == reflect.String:
			v.SetString("text " + string(rune('a'+next)))
		case v.Kind() == reflect.Uint64:
			v.SetUint(uint64(next) << 40)
		case v.Kind() == reflect.Int:
			v.SetInt(int64(next))
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		case v.Kind() == reflect.Map:
			v.Set(reflect.ValueOf(map[string]string{"team": "blue", "": "empty key"}))
		default:
			t.Fatalf("a field of kind %s: teach it to the encoding and to this test", v.Kind())
		}
	}
	fill(reflect.ValueOf(&r))
	return r
}

func TestEveryFieldComesBackFromItsEncoding(t *testing.T) {
	r := full(t)
	back, err := invitation.Decode(r.Organization, r.ID, r.Encode())
	require.NoError(t, err)
	require.Equal(t, r, back)
}

func TestEveryFoldComesBackFromItsEncoding(t *testing.T) {
	all := history()
	rapid.Check(t, func(t *rapid.T) {
		r := fold(rapid.SliceOf(rapid.SampledFrom(all)).Draw(t, "events"))
		data := r.Encode()
		back, err := invitation.Decode(r.Organization, r.ID, data)
		require.NoError(t, err)
		require.Equal(t, text(t, r), text(t, back))
		require.Equal(t, data, back.Encode())
	})
}

func TestWhatIsNoEncodingIsRefused(t *testing.T) {
	r := full(t)
	data := r.Encode()
	for size := range data {
		_, err := invitation.Decode(r.Organization, r.ID, data[:size])
		require.ErrorIs(t, err, invitation.ErrEncoding, "cut to %d bytes", size)
	}
	for _, bad := range [][]byte{append(data, 0), []byte(`{"id":"inv_1"}`), append([]byte{2}, data[1:]...)} {
		_, err := invitation.Decode(r.Organization, r.ID, bad)
		require.ErrorIs(t, err, invitation.ErrEncoding)
	}
	rapid.Check(t, func(t *rapid.T) { // and never panics
		_, _ = invitation.Decode("acme", "inv_1", append([]byte{4}, rapid.SliceOf(rapid.Byte()).Draw(t, "noise")...))
	})
}

func TestAnEncodingTakesLittleRoom(t *testing.T) {
	r := fold(history()[:2])
	asJSON, err := json.Marshal(r)
	require.NoError(t, err)
	require.Less(t, 2*len(r.Encode()), len(asJSON))
}

func BenchmarkEncodeAndDecode(b *testing.B) {
	r := fold(history()[:2])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := invitation.Decode(r.Organization, r.ID, r.Encode()); err != nil {
			b.Fatal(err)
		}
	}
}

// What somebody else wrote, or damage, is refused or read; it never ends the process.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	whole, folded := full(f), fold(history())
	f.Add(whole.Encode())
	f.Add(folded.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := invitation.Decode("acme", "inv_1", data)
		if err != nil {
			require.ErrorIs(t, err, invitation.ErrEncoding)
			return
		}
		again, err := invitation.Decode("acme", "inv_1", r.Encode())
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
