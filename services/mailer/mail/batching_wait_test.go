package mail_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/services/mailer/mail"
)

// counted is a provider that holds calls until it is let go, and counts the mails it took.
type counted struct {
	mu      sync.Mutex
	taken   int
	entered chan struct{}
	let     chan struct{}
}

func newCounted() *counted {
	return &counted{entered: make(chan struct{}, 100), let: make(chan struct{})}
}

func (c *counted) Send(_ context.Context, mails []mail.Mail) []mail.Result {
	c.entered <- struct{}{}
	<-c.let
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken += len(mails)
	return make([]mail.Result, len(mails))
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.taken
}

func aMail(t *testing.T, to string) mail.Mail {
	r, err := mail.NewRenderer(mail.RendererOptions{From: "Usher <u@example.org>"})
	require.NoError(t, err)
	m, err := r.Mail(mail.Context{Purpose: mail.PurposeInvitation, Organization: "Acme", Role: "member"}, mail.Recipient{Invitation: "inv_1", To: to, Link: "https://example.org/i/x"})
	require.NoError(t, err)
	return m
}

func TestAMailThatIsWithdrawnWhileItWaitsNeverLeaves(t *testing.T) {
	provider := newCounted()
	b := mail.NewBatching(provider, mail.BatchingOptions{Parallel: 1})
	first, second := aMail(t, "first@example.org"), aMail(t, "second@example.org")
	go func() { _, _ = b.Send(context.Background(), first) }()
	<-provider.entered
	ctx, giveUp := context.WithCancel(context.Background())
	answer := make(chan error)
	go func() {
		_, err := b.Send(ctx, second)
		answer <- err
	}()
	giveUp()
	var later *mail.Later
	require.ErrorAs(t, <-answer, &later)
	close(provider.let)
	b.Close()
	require.Equal(t, 1, provider.count())
}

func TestAMailThatWaitedTooLongComesBackToBeLookedAtAgain(t *testing.T) {
	provider := newCounted()
	var mu sync.Mutex
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	b := mail.NewBatching(provider, mail.BatchingOptions{Parallel: 1, Clock: clock})
	first, second := aMail(t, "first@example.org"), aMail(t, "second@example.org")
	go func() { _, _ = b.Send(context.Background(), first) }()
	<-provider.entered
	var waiting sync.WaitGroup
	entered := make(chan struct{})
	var err error
	waiting.Go(func() {
		close(entered)
		_, err = b.Send(context.Background(), second)
	})
	<-entered
	require.Eventually(t, func() bool { return b.Waiting() == 1 }, 5*time.Second, time.Millisecond)
	mu.Lock()
	now = now.Add(6 * time.Second)
	mu.Unlock()
	close(provider.let)
	waiting.Wait()
	var later *mail.Later
	require.ErrorAs(t, err, &later)
	b.Close()
	require.Equal(t, 1, provider.count())
}

// A process that stood still between the look and the call wakes up when all may be different: revoked, or sent by another.
func TestAMailThatWasLookedAtLongAgoComesBackToBeLookedAtAgain(t *testing.T) {
	provider := newCounted()
	close(provider.let)
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	b := mail.NewBatching(provider, mail.BatchingOptions{Clock: func() time.Time { return now }})
	defer b.Close()
	m := aMail(t, "first@example.org")
	m.Looked = now.Add(-11 * time.Second)
	_, err := b.Send(t.Context(), m)
	var later *mail.Later
	require.ErrorAs(t, err, &later)
	m.Looked = now.Add(-time.Second)
	_, err = b.Send(t.Context(), m)
	require.NoError(t, err)
	require.Equal(t, 1, provider.count())
}

func TestABacklogOverTheRateComesBackWithTheTimeItNeeds(t *testing.T) {
	provider := newCounted()
	close(provider.let)
	b := mail.NewBatching(provider, mail.BatchingOptions{Rate: 1, Patience: 200 * time.Millisecond}) // the rate needs a second
	_, err := b.Send(context.Background(), aMail(t, "first@example.org"))
	require.NoError(t, err)
	_, err = b.Send(context.Background(), aMail(t, "second@example.org"))
	var later *mail.Later
	require.ErrorAs(t, err, &later)
	require.Positive(t, later.After)
	until, _ := b.Held()
	require.True(t, until.IsZero(), "the rate is no trouble of the provider's")
	b.Close()
	require.Equal(t, 1, provider.count())
}
