package tally

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"registrycache/logger/accesslog"
)

// step is a request for a manifest: method, reference, digest of the answer.
type step [3]string

// pulled says how often which image was pulled.
func (m *made) pulled() map[string]int64 {
	pulled := map[string]int64{}
	for _, i := range m.Traffic().Busiest {
		pulled[strings.TrimPrefix(i.Name, repo)] = i.Pulls
	}
	return pulled
}

func TestPullsOfClients(t *testing.T) {
	for name, c := range map[string]struct {
		steps []step
		want  map[string]int64
	}{
		"podman": {[]step{{"GET", "1", index}, {"GET", child, child}}, map[string]int64{":1": 1}},
		"podman twice": {
			[]step{{"GET", "1", index}, {"GET", child, child}, {"GET", "1", index}, {"GET", child, child}}, map[string]int64{":1": 2},
		},
		"podman, by digest":        {[]step{{"GET", index, index}, {"GET", child, child}}, map[string]int64{"@" + index: 1}},
		"podman, one platform":     {[]step{{"GET", "1", child}}, map[string]int64{":1": 1}},
		"containerd":               {[]step{{"HEAD", "1", index}, {"GET", index, index}, {"GET", child, child}}, map[string]int64{":1": 1}},
		"containerd has the index": {[]step{{"HEAD", "1", index}, {"GET", child, child}}, map[string]int64{":1": 1}},
		"containerd has all":       {[]step{{"HEAD", "1", index}}, map[string]int64{}},
		"dockerd":                  {[]step{{"HEAD", "1", index}, {"GET", index, index}, {"GET", child, child}}, map[string]int64{":1": 1}},
		"asks twice":               {[]step{{"GET", "1", index}, {"GET", index, index}, {"GET", child, child}}, map[string]int64{":1": 1}},
		"asks and looks":           {[]step{{"GET", "1", index}, {"HEAD", "1", index}, {"GET", child, child}}, map[string]int64{":1": 1}},
		"all platforms":            {[]step{{"HEAD", "1", index}, {"GET", index, index}, {"GET", child, child}, {"GET", child, child}}, map[string]int64{":1": 1}},
		// Whole clusters come in one repository, by digest.
		"several by digest":   {[]step{{"GET", child, child}, {"GET", other, other}, {"GET", child, child}}, map[string]int64{"@" + child: 2, "@" + other: 1}},
		"the same by digest":  {[]step{{"GET", child, child}, {"GET", child, child}}, map[string]int64{"@" + child: 2}},
		"another digest":      {[]step{{"GET", "1", index}, {"GET", other, other}}, map[string]int64{":1": 1, "@" + other: 1}},
		"another tag":         {[]step{{"GET", "1", index}, {"GET", "2", index}}, map[string]int64{":1": 1, ":2": 1}},
		"with signatures":     {[]step{{"GET", "1", index}, {"GET", "sha256-abc.sig", other}, {"GET", child, child}}, map[string]int64{":1": 1}},
		"looked up by digest": {[]step{{"HEAD", child, child}, {"GET", child, child}}, map[string]int64{"@" + child: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newTally(t)
			for _, s := range c.steps {
				m.Count(manifest(s[0], s[1], s[2]))
			}
			require.Equal(t, c.want, m.pulled())
		})
	}
}

func TestWhatIsNoPull(t *testing.T) {
	for name, change := range map[string]func(*accesslog.Record){
		"blob":          func(r *accesslog.Record) { r.Kind = "blobs" },
		"not modified":  func(r *accesslog.Record) { r.Status = 304 },
		"failed":        func(r *accesslog.Record) { r.Status = 503 },
		"not found":     func(r *accesslog.Record) { r.Status = 404 },
		"head":          func(r *accesslog.Record) { r.Method = "HEAD" },
		"push":          func(r *accesslog.Record) { r.Method = "PUT" },
		"no reference":  func(r *accesslog.Record) { r.Reference = "" },
		"hostile names": func(r *accesslog.Record) { r.Repository = strings.Repeat("a/", 1000) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newTally(t)
			r := manifest("GET", "1", index)
			change(&r)
			m.Count(r)
			require.Empty(t, m.pulled())
		})
	}
	t.Run("pushed here", func(t *testing.T) {
		m := newTally(t)
		r := manifest("GET", "1", index)
		r.Cache = accesslog.Local
		m.Count(r)
		require.Equal(t, map[string]int64{":1": 1}, m.pulled(), "a pull all the same")
	})
}

func TestPullsAreToldApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newTally(t)
		m.Count(manifest("GET", "1", index))
		r := manifest("GET", child, child)
		r.RemoteAddr = "[2001:db8::1]:443"
		m.Count(r)
		require.Equal(t, map[string]int64{":1": 1, "@" + child: 1}, m.pulled(), "another client")
		r = manifest("GET", child, child)
		r.Repository += "2"
		m.Count(r)
		require.EqualValues(t, 1, m.pulled()["2@"+child], "another repository")
		r = manifest("GET", child, child)
		r.RemoteAddr = "10.0.0.1:999"
		m.Count(r)
		require.EqualValues(t, 1, m.pulled()["@"+child], "another connection of the same client")
		time.Sleep(samePull + 1)
		m.Count(manifest("GET", child, child))
		require.EqualValues(t, 2, m.pulled()["@"+child], "later")
	})
}

func TestClientsUnderWayAreBounded(t *testing.T) {
	m := newTally(t)
	for i := range 3 * maxAsking {
		r := manifest("GET", "1", index)
		r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", i>>8, i&255)
		m.Count(r)
	}
	r := manifest("GET", child, child)
	r.RemoteAddr = "10.0.0.0:1"
	m.Count(r)
	require.EqualValues(t, 1, m.pulled()["@"+child], "it was forgotten that the client had begun")
}
