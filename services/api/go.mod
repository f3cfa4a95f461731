module github.com/usherhq/usher/services/api

go 1.26.0

require (
	github.com/usherhq/usher/events v0.0.0
	github.com/usherhq/usher/pkg v0.0.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/danielgtaylor/huma/v2 v2.37.2 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.opentelemetry.io/otel v1.47.0 // indirect
	go.opentelemetry.io/otel/trace v1.47.0 // indirect
	golang.org/x/net v0.62.0 // indirect
)

replace (
	github.com/usherhq/usher/events => ../../events
	github.com/usherhq/usher/pkg => ../../pkg
)
