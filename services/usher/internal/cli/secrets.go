package cli

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/usherhq/usher/pkg/apikeys"
	"github.com/usherhq/usher/pkg/links"
)

// The secrets that "usher up" keeps in its data folder, and "usher keys init" in one of its own.
func linkKeysFile(folder string) string   { return filepath.Join(folder, "link-keys") }
func apiKeyFile(folder string) string     { return filepath.Join(folder, "api-key") }
func signingKeyFile(folder string) string { return filepath.Join(folder, "webhook-signing-key") }

// kept reads a secret, or makes it the first time.
func kept(path string, generate func() string) (string, error) {
	have, err := os.ReadFile(path)
	if err == nil {
		return strings.TrimSpace(string(have)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("secret: %w", err)
	}
	made := generate()
	if err := store(path, made+"\n"); err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	return made, nil
}

// store writes a file whole or not at all, and has it on disk when it returns: a link whose key is lost is lost too.
func store(path, content string) error {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".new-*") // readable by its owner alone
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// keysInitCommand makes what the _FILE settings of a first start name, for deployments that have no secret store.
func keysInitCommand(streams Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "init FOLDER",
		Short: "Make the secrets of a first start as files; those that are there stay as they are",
		Long: "Makes link-keys (USHER_LINK_KEYS_FILE), api-key (USHER_BOOTSTRAP_API_KEY_FILE) and webhook-signing-key\n" +
			"(MAILGUN_WEBHOOK_SIGNING_KEY_FILE, where a fake Mailgun signs) in the folder, readable by their owner alone.",
		Args: exactly(1, "a folder"),
		RunE: func(c *cobra.Command, args []string) error {
			secrets := []struct {
				path     string
				generate func() string
			}{{linkKeysFile(args[0]), links.NewKey}, {apiKeyFile(args[0]), apikeys.Generate}, {signingKeyFile(args[0]), rand.Text}}
			var paths []string
			for _, s := range secrets {
				if _, err := kept(s.path, s.generate); err != nil {
					return err
				}
				paths = append(paths, s.path)
			}
			return streams.print(c, map[string]any{"files": paths}, "%s", strings.Join(paths, "\n"))
		},
	}
}
