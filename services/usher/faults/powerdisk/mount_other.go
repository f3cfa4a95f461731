//go:build !linux

package powerdisk

import "errors"

var errLinux = errors.New("disks that lose their power need Linux")

func attach(string) (int, error) { return 0, errLinux }

func calm(string) error { return errLinux }

func detach(string) error { return errLinux }
