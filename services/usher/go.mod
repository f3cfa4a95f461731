module github.com/usherhq/usher/services/usher

go 1.26.0

require (
	github.com/usherhq/usher/events v0.0.0
	github.com/usherhq/usher/pkg v0.0.0
	github.com/usherhq/usher/services/acceptance v0.0.0
	github.com/usherhq/usher/services/api v0.0.0
	github.com/usherhq/usher/services/mailer v0.0.0
)

require (
	github.com/antithesishq/antithesis-sdk-go v0.8.0-default-no-op // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/minio/highwayhash v1.0.4 // indirect
	github.com/nats-io/jwt/v2 v2.8.2 // indirect
	github.com/nats-io/nats-server/v2 v2.15.2 // indirect
	github.com/nats-io/nkeys v0.4.16 // indirect
	github.com/nats-io/nuid v1.0.1 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace (
	github.com/usherhq/usher/events => ../../events
	github.com/usherhq/usher/pkg => ../../pkg
	github.com/usherhq/usher/services/acceptance => ../acceptance
	github.com/usherhq/usher/services/api => ../api
	github.com/usherhq/usher/services/mailer => ../mailer
)
