package redisdb_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/redisdb"
)

func TestEveryFormOfURLIsRead(t *testing.T) {
	for url, want := range map[string]redisdb.Server{
		"redis://localhost":                              {Addrs: []string{"localhost:6379"}},
		"redis://localhost:6380/2":                       {Addrs: []string{"localhost:6380"}, Database: 2},
		"redis://localhost/?db=2":                        {Addrs: []string{"localhost:6379"}, Database: 2},
		"redis://[::1]:6380":                             {Addrs: []string{"[::1]:6380"}},
		"redis://[::1]":                                  {Addrs: []string{"[::1]:6379"}},
		"rediss://cache.example.org":                     {Addrs: []string{"cache.example.org:6379"}, TLS: true},
		"redis+cluster://one:1":                          {Addrs: []string{"one:1"}, Cluster: true},
		"redis+cluster://one:1,two:2,three":              {Addrs: []string{"one:1", "two:2", "three:6379"}, Cluster: true},
		"rediss+cluster://one,two/":                      {Addrs: []string{"one:6379", "two:6379"}, Cluster: true, TLS: true},
		"redis://one:1?addr=two:2&addr=three:3":          {Addrs: []string{"one:1", "two:2", "three:3"}, Cluster: true},
		"redis://one:1,two:2":                            {Addrs: []string{"one:1", "two:2"}, Cluster: true},
		"redis+sentinel://one,two:2/mymaster":            {Addrs: []string{"one:26379", "two:2"}, Sentinel: "mymaster"},
		"redis+sentinel://one/mymaster/3":                {Addrs: []string{"one:26379"}, Sentinel: "mymaster", Database: 3},
		"rediss://one:1?master_name=mymaster&addr=two:2": {Addrs: []string{"one:1", "two:2"}, Sentinel: "mymaster", TLS: true},
		"unix:///run/redis.sock":                         {Addrs: []string{"/run/redis.sock"}},
		"unix:///run/redis.sock?db=4":                    {Addrs: []string{"/run/redis.sock"}, Database: 4},
	} {
		got, err := redisdb.ParseURL(url)
		require.NoError(t, err, url)
		require.Equal(t, want, got, url)
	}
}

func TestCredentialsWithAnyCharacterAreRead(t *testing.T) {
	for url, want := range map[string][2]string{
		"redis://usher:s3cret@host":                {"usher", "s3cret"},
		"redis://:s3cret@host":                     {"", "s3cret"},
		"redis://usher:p@ss@host":                  {"usher", "p@ss"},
		"redis://usher:p%40ss%2Fw%3Ard%2C@h1:1,h2": {"usher", "p@ss/w:rd,"},
		"redis+sentinel://usher:p%40ss@h1,h2/m":    {"usher", "p@ss"},
		"unix://usher:s3cret@/run/redis.sock?db=1": {"usher", "s3cret"},
	} {
		server, err := redisdb.ParseURL(url)
		require.NoError(t, err, url)
		username, password := redisdb.Credentials(server)
		require.Equal(t, want, [2]string{username, password}, url)
	}
}

func TestAURLThatCannotBeReadIsRefusedWithoutShowingIt(t *testing.T) {
	for _, url := range []string{
		"", "localhost:6379", "http://usher:s3cret@host", "redis+magic://usher:s3cret@host", "redis://", "redis://usher:s3cret@", "redis://:6379",
		"redis://usher:s3cret@host:port", "redis://usher:s3cret@host:0", "redis://usher:s3cret@host:70000", "redis://usher:s3cret@host/x",
		"redis://usher:s3cret@host/1/2", "redis://usher:s3cret@host?skip_verify=true", "rediss://usher:s3cret@host?skip_verify=true",
		"redis+sentinel://usher:s3cret@host", "redis+cluster://usher:s3cret@host/1", "redis://usher:s3%zzcret@host", "unix://usher:s3cret@",
		"redis://one,,two", "redis://usher:s3cret@host?db=-1", "unix:///x?db=a",
	} {
		_, err := redisdb.ParseURL(url)
		require.Error(t, err, url)
		require.NotContains(t, err.Error(), "s3cret", url)
		require.NotContains(t, err.Error(), "host:", url)
		_, err = redisdb.Open(t.Context(), redisdb.Options{URL: url})
		require.Error(t, err, url)
	}
}

// Wherever in a URL the secret stands, no refusal shows it.
func FuzzParseURL(f *testing.F) {
	for _, url := range [][2]string{
		{"redis://usher:", "p%40ss%2Fw%3Ard%2C@h1:1,h2"}, {"redis+sentinel://", "one,two:2/mymaster/3"}, {"redis://one:1?addr=two:2&", "master_name=m"},
		{"unix://usher:s3cret@/run/", "redis.sock?db=4"}, {"rediss+cluster://[::1]:6380,[::1%25eth0]/", ""}, {"redis://", "@/?addr="}, {"", "redis://,:@,/,?,"},
		{"redis://host?db=", ""}, {"redis://host:", ""}, {"redis+", "://host"}, {"redis://:%", "@host"},
	} {
		f.Add(url[0], url[1])
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		const secret = "hunter2"
		server, err := redisdb.ParseURL(before + secret + after)
		if err != nil {
			require.NotContains(t, err.Error(), secret)
			return
		}
		require.NotEmpty(t, server.Addrs)
		require.False(t, server.Cluster && server.Database != 0)
		for _, addr := range server.Addrs {
			require.NotEmpty(t, addr)
		}
	})
}
