module github.com/usherhq/usher/services/usher/bench

go 1.26.0

require (
	github.com/nats-io/nats.go v1.55.0
	github.com/stretchr/testify v1.12.1
	github.com/synadia-io/orbit.go/jetstreamext v0.3.2
	github.com/usherhq/usher/events v0.0.0
	github.com/usherhq/usher/pkg v0.0.0
)

replace (
	github.com/usherhq/usher/events => ../../../events
	github.com/usherhq/usher/pkg => ../../../pkg
)
