package i18n_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/i18n"
)

func TestTheFirstLanguageThereIsIsSpoken(t *testing.T) {
	for want, preferences := range map[string][]string{
		"en": {"", "xx-nonsense!", "tlh"},
		"de": {"de-AT", "ko"},
		"ko": {"", "fr", "ko-KR"},
		"ja": {"", "", "fr;q=0.9, ja;q=0.8, en;q=0.1"},
		"ar": {"ar-EG"},
		"es": {"es-419"},
	} {
		require.Equal(t, want, i18n.For(preferences...).Lang(), "%q", preferences)
	}
	require.Equal(t, "rtl", i18n.For("ar").Dir())
	require.Equal(t, "ltr", i18n.For("ko").Dir())
}

func TestPluralsAndDatesFollowTheLanguage(t *testing.T) {
	at := time.Date(2026, 3, 9, 9, 30, 0, 0, time.UTC)
	for language, want := range map[string][3]string{
		"en": {"1 day", "3 days", "March 9, 2026 9:30 am UTC"},
		"de": {"1 Tag", "3 Tage", "9. März 2026 09:30 UTC"},
		"ko": {"1일", "3일", "2026년 3월 9일 오전 9:30 UTC"},
		"ja": {"1日", "3日", "2026年3月9日 9:30 UTC"},
		"es": {"1 día", "3 días", "9 de marzo de 2026 9:30 UTC"},
		"ar": {"يوم واحد", "3 أيام", "9 مارس 2026 9:30 ص UTC"},
	} {
		l := i18n.For(language)
		require.Equal(t, want, [3]string{l.Text("duration.days", "count", 1), l.Text("duration.days", "count", 3), l.Moment(at)})
	}
	require.Equal(t, "no.such.message", i18n.For("en").Text("no.such.message"))
}
