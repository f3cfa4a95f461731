module github.com/usherhq/usher/pkg

go 1.26

require github.com/usherhq/usher/events v0.0.0

require github.com/google/uuid v1.6.0 // indirect

replace github.com/usherhq/usher/events => ../events
