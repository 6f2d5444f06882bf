package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// A push puts blobs into a store one by one, or finds them there, and a
// manifest that needs them comes last. In between nothing in the store says
// that they are needed, except for a pledge: a file in the repository.

const (
	// pledgeTime is for how long a push may rely on what it was told is here.
	// What an abandoned one leaves is kept for so long.
	pledgeTime = 6 * time.Hour
	// sharedTime is how much longer a pledge holds that was redeemed less often
	// than made: for another push to the same repository, or for nobody, since
	// some clients ask twice.
	sharedTime = 5 * time.Minute
)

func (s *Store) pledgePath(repo string, d digest.Digest) string {
	return filepath.Join(s.repoDir(repo), "_pledges", digestPath(d))
}

// Pledge keeps a blob, and its link to the repository, from a PlanCollection
// for some hours or until Redeem. The caller is Changing the store, and neither
// pledges nor redeems anything else meanwhile.
func (s *Store) Pledge(repo string, d digest.Digest) error {
	path := s.pledgePath(repo, d)
	err := os.MkdirAll(filepath.Dir(path), 0o775)
	if err == nil {
		err = appendByte(path) // as many as there are who rely on it
	}
	if err != nil {
		return fmt.Errorf("keep %s for the push that needs it: %w", d, err)
	}
	return nil
}

func appendByte(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o664)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte{'.'})
	return errors.Join(err, f.Close())
}

// Redeem ends the pledges of what a manifest of the repository needs by now.
func (s *Store) Redeem(repo string, needs Needs) {
	for _, list := range [][]digest.Digest{needs.Blobs, needs.Manifests} {
		for _, d := range list {
			s.redeem(s.pledgePath(repo, d))
		}
	}
}

func (s *Store) redeem(path string) {
	info, err := os.Stat(path)
	if err != nil {
		return // it was not pledged
	}
	if info.Size() <= 1 {
		s.dropPledge(path)
		return
	}
	until := time.Now().Add(sharedTime - pledgeTime)
	_ = os.Truncate(path, info.Size()-1)
	_ = os.Chtimes(path, until, until)
}

// dropPledge removes a pledge. One that stays keeps its blob for nothing, and
// not for long.
func (s *Store) dropPledge(path string) {
	_ = os.Remove(path)
	s.prune(filepath.Dir(path))
}

// eachPledge calls fn for each blob that is pledged in a repository, or was.
func (s *Store) eachPledge(ctx context.Context, fn func(repo string, d digest.Digest, since time.Time)) error {
	return s.walkRepositories(ctx, "", func(repo string) error {
		return eachDigest(ctx, filepath.Join(s.repoDir(repo), "_pledges"), func(path string, d digest.Digest) error {
			info, err := os.Stat(path)
			if err == nil {
				fn(repo, d, info.ModTime())
			}
			return ignoreNotExist(err)
		})
	})
}

// Changing keeps others from Collecting until release is called, and waits for
// one who is.
func (s *Store) Changing(ctx context.Context) (release func(), err error) {
	return s.lock(ctx, unix.LOCK_SH)
}

// Collecting waits until nobody is Changing the store and keeps all from it
// until release is called: what is found unneeded meanwhile stays so.
func (s *Store) Collecting(ctx context.Context) (release func(), err error) {
	return s.lock(ctx, unix.LOCK_EX)
}

// lockRetry is how often a lock is asked for that somebody has. The kernel can
// wait, but not for a context.
const lockRetry = 10 * time.Millisecond

// lock ends with the process, too. The file is opened for writing since NFS wants
// that of an exclusive lock.
func (s *Store) lock(ctx context.Context, how int) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.root, "collecting.lock"), os.O_RDWR|os.O_CREATE, 0o664)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		select {
		case <-time.After(lockRetry):
			continue
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		break
	}
	_ = f.Close()
	return nil, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
}
