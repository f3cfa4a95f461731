// Package trial is one seeded experiment: people invite, accept, decline, revoke and resend while things break; then all is
// mended, it becomes quiet, and what the clients were answered is held against what is stored and what was mailed.
package trial
