// Package composetest holds what is tested of the compose file, the images and the servers' configuration. Most of it needs
// no engine and runs with "make test"; the flow through a real engine (build tag "engine") runs with "make compose-test".
package composetest
