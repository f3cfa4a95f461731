module github.com/usherhq/usher/services/mailer

go 1.26
