package supervisor

import (
	"context"
	"time"
)

// vigil is how a process that hangs is told from one that works: it is asked
// for its health, which takes it no work, and has long to answer.
type vigil struct {
	// every is the pause between two questions, patience how long an answer may
	// take.
	every, patience time.Duration
	// silent is how many questions in a row without an answer end the process.
	silent int
}

// usualVigil lets a process be silent for a minute and a half. On a machine so
// busy that nothing is answered for that long, or that stood still, one of the
// three questions is answered after all.
var usualVigil = vigil{every: 10 * time.Second, patience: 30 * time.Second, silent: 3}

// keep asks i until it has exited, and sends how each question went.
func (v vigil) keep(i *instance) <-chan error {
	answers := make(chan error)
	go func() {
		pause := time.NewTimer(v.every)
		defer pause.Stop()
		for {
			select {
			case <-pause.C:
			case <-i.exited:
				return
			}
			err := v.ask(i)
			select {
			case answers <- err:
			case <-i.exited:
				return
			}
			pause.Reset(v.every)
		}
	}()
	return answers
}

func (v vigil) ask(i *instance) error {
	ctx, cancel := context.WithTimeout(context.Background(), v.patience)
	defer cancel()
	_, err := i.health(ctx)
	return err
}
