package api

import "net/http"

// Handler is what the service serves.
func (s *Service) Handler() http.Handler { return s.server.Handler }
