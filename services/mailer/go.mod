module github.com/usherhq/usher/services/mailer

go 1.26.0

require (
	github.com/mailgun/mailgun-go/v4 v4.23.0
	github.com/usherhq/usher/pkg v0.0.0
	golang.org/x/time v0.16.0
)

require (
	github.com/go-chi/chi/v5 v5.3.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/json-iterator/go v1.1.12 // indirect
	github.com/mailgun/errors v0.4.0 // indirect
	github.com/modern-go/concurrent v0.0.0-20180228061459-e0a39a4cb421 // indirect
	github.com/modern-go/reflect2 v1.0.2 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

replace (
	github.com/usherhq/usher/events => ../../events
	github.com/usherhq/usher/pkg => ../../pkg
)
