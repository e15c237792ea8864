package faultkit

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"processor/internal/sandbox"
	"processor/internal/servertest"
)

// Certificates of Redis and PostgreSQL are checked: an authority that nobody knows is refused, and
// so is a certificate for another host. The authority comes with SSL_CERT_FILE, or for PostgreSQL
// with sslrootcert in the URL.
func TestTLS_IsChecked(t *testing.T) {
	dir := certificates(t, "127.0.0.1")
	otherHost := certificates(t, "192.0.2.1")
	redisPort := servertest.FreePort(t)
	redis := servertest.NewRedis(t, sandbox.RedisOptions{ExtraArgs: []string{
		"--tls-port", redisPort, "--tls-auth-clients", "no",
		"--tls-cert-file", filepath.Join(dir, "server.pem"), "--tls-key-file", filepath.Join(dir, "server.key"), "--tls-ca-cert-file", filepath.Join(dir, "ca.pem"),
	}})
	postgres := servertest.NewPostgres(t, "ssl = on",
		fmt.Sprintf("ssl_cert_file = '%s'", filepath.Join(dir, "server.pem")), fmt.Sprintf("ssl_key_file = '%s'", filepath.Join(dir, "server.key")))
	plain := ownDatabase(t, postgres)
	verified := servertest.WithParameter(t, plain, "sslmode", "verify-full")
	overTLS := "rediss://127.0.0.1:" + redisPort
	ca := "SSL_CERT_FILE=" + filepath.Join(dir, "ca.pem")

	cases := map[string]struct {
		redis, database string
		environ         []string
		problem         string // none: it works
	}{
		"both without the authority":       {overTLS, verified, nil, "certificate signed by unknown authority"},
		"Redis without the authority":      {overTLS, plain, nil, "certificate signed by unknown authority"},
		"PostgreSQL without the authority": {redis.URL(), verified, nil, "certificate signed by unknown authority"},
		"certificate of another authority": {redis.URL(), servertest.WithParameter(t, verified, "sslrootcert", filepath.Join(otherHost, "ca.pem")), nil, "certificate signed by unknown authority"},
		"certificate of another host":      {strings.Replace(overTLS, "127.0.0.1", "localhost", 1), plain, []string{ca}, "certificate is not valid for any names, but wanted to match localhost"},
		"authority in SSL_CERT_FILE":       {overTLS, verified, []string{ca}, ""},
		"authority in sslrootcert":         {redis.URL(), servertest.WithParameter(t, verified, "sslrootcert", filepath.Join(dir, "ca.pem")), nil, ""},
		"sslrootcert=system":               {redis.URL(), servertest.WithParameter(t, verified, "sslrootcert", "system"), []string{ca}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRigOn(t, redis.URL(), plain)
			r.config.Redis.URL, r.config.Database.URL, r.environ = c.redis, c.database, c.environ
			r.add("nonsense")
			w := r.start()
			if c.problem != "" {
				servertest.Until(t, "it is refused", func() bool {
					_, body := w.get("/readyz")
					return strings.Contains(body, c.problem)
				})
				require.False(t, w.ready())
				require.True(t, w.alive())
				return
			}
			servertest.Until(t, "ready", w.ready)
			r.awaitDrained()
			require.Equal(t, 1, w.stop().DeadLettered)
		})
	}
}

// certificates makes an authority and a server's certificate for the address, and returns the
// directory with ca.pem, server.pem and server.key, which PostgreSQL's user may read.
func certificates(t testing.TB, address string) (dir string) {
	t.Helper()
	dir = serverDir(t)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "faultkit"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	write := func(name, kind string, der []byte, err error) {
		require.NoError(t, err)
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		ownedByServer(t, path)
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	write("ca.pem", "CERTIFICATE", der, err)
	der, err = x509.CreateCertificate(rand.Reader, server, authority, &key.PublicKey, caKey)
	write("server.pem", "CERTIFICATE", der, err)
	der, err = x509.MarshalPKCS8PrivateKey(key)
	write("server.key", "PRIVATE KEY", der, err)
	return dir
}

// ownedByServer gives a file to the user that servers run as.
func ownedByServer(t testing.TB, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	uid, err := strconv.Atoi(serverAccount(t).Uid)
	require.NoError(t, err)
	require.NoError(t, os.Chown(path, uid, -1))
}

// serverAccount is the user that the sandbox runs PostgreSQL as where the tests run as root.
func serverAccount(t testing.TB) *user.User {
	t.Helper()
	account, err := user.Lookup("postgres")
	if err != nil {
		account, err = user.Lookup("nobody")
	}
	require.NoError(t, err)
	return account
}

// serverDir makes a directory that the user that servers run as may read.
func serverDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "faultkit-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}
