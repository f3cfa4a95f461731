module github.com/usherhq/usher/services/acceptance

go 1.26
