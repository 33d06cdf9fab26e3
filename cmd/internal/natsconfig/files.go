package natsconfig

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lessorhq/lessor/cmd/internal/atomicfile"
)

// The files for the NATS servers. ConfFile is written only if it is missing.
const (
	ConfFile     = "lessor.conf"
	accountsFile = "accounts.conf"
)

// serverConf is the content of ConfFile.
const serverConf = `# A NATS server for lessor. This file is yours: "lessor nats-config" makes it where it
# is missing, and leaves it alone after that.

server_name: lessor
listen: "127.0.0.1:4222"
jetstream: {store_dir: "./jetstream"}
# Credentials travel over these connections. Beyond one machine, use TLS:
# tls: {cert_file: "server.pem", key_file: "server-key.pem"}

include "./` + accountsFile + `"
`

// writeConf writes the accounts, and ConfFile if it is missing.
func writeConf(dir string, accounts []byte) error {
	if err := writeFile(filepath.Join(dir, accountsFile), accounts, 0o644); err != nil {
		return err
	}
	path := filepath.Join(dir, ConfFile)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return writeFile(path, []byte(serverConf), 0o644)
}

// writeFile replaces a file, unless it has this content already.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	old, err := os.ReadFile(path)
	if err == nil && bytes.Equal(old, data) {
		return nil
	}
	return atomicfile.Write(path, data, mode)
}
