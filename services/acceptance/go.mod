module github.com/usherhq/usher/services/acceptance

go 1.26

require (
	github.com/usherhq/usher/events v0.0.0
	github.com/usherhq/usher/pkg v0.0.0
)

replace (
	github.com/usherhq/usher/events => ../../events
	github.com/usherhq/usher/pkg => ../../pkg
)
