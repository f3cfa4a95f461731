// Package contract holds the published contract against what others say a contract should be: the CloudEvents SDK, JSON
// Schema, the AsyncAPI specification. It has a module of its own because package events must not depend on any of them.
//
// The JSON Schemas and the AsyncAPI document of package events are made here, from the Go types:
//
//	go test -run TestDocumentsFollowTheTypes -update
//
// Run these tests with -count=1: they read sources of another module, whose changes the cache of go test does not see.
package contract
