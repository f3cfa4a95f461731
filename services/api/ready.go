package api

import "github.com/usherhq/usher/pkg/problem"

// ready says "not now" while a dependency is down, before anything is begun.
func (s *Service) ready() error {
	if err := s.Ledger.Healthy(); err != nil {
		return err
	}
	if !s.Redis.Healthy() {
		return problem.Unavailable("Redis", nil)
	}
	return nil
}
