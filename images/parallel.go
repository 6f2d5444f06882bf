package images

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// inOrder calls work for each item, several at once, and take with the results
// in the order of the items, one after the other. No more results than there
// are workers wait to be taken.
func inOrder[T, R any](ctx context.Context, items []T, work func(context.Context, T) (R, error), take func(R)) error {
	// More than processors: on a cold store they mostly wait for the disk.
	width := max(4, runtime.GOMAXPROCS(0))
	group, ctx := errgroup.WithContext(ctx)
	results := make(chan chan R, width)
	group.Go(func() error {
		defer close(results)
		for _, item := range items {
			result := make(chan R, 1)
			select {
			case results <- result:
			case <-ctx.Done():
				return ctx.Err()
			}
			group.Go(func() error {
				r, err := work(ctx, item)
				if err != nil {
					return err
				}
				result <- r
				return nil
			})
		}
		return nil
	})
	for result := range results {
		select {
		case r := <-result:
			take(r)
		case <-ctx.Done():
		}
	}
	return group.Wait()
}
