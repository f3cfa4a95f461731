module github.com/usherhq/usher/services/usher

go 1.26
