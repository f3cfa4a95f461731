module github.com/usherhq/usher/services/api

go 1.26
