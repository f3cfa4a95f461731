module github.com/usherhq/usher/services/usher/faults

go 1.26.0

require (
	github.com/usherhq/usher/events v0.0.0
	github.com/usherhq/usher/pkg v0.0.0
	github.com/usherhq/usher/services/mailer v0.0.0
)

require (
	github.com/hanwen/go-fuse/v2 v2.12.1 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

replace (
	github.com/usherhq/usher/events => ../../../events
	github.com/usherhq/usher/pkg => ../../../pkg
	github.com/usherhq/usher/services/mailer => ../../mailer
)
