package harness

import (
	"bytes"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// AllMetrics scrapes /metrics as Prometheus would.
func (a *Appliance) AllMetrics(t testing.TB) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(a.Metrics(t).Get("/metrics").Body))
	require.NoError(t, err)
	return families
}

// Metric is the sum of the samples of a counter or gauge that have the given
// labels, name and value in turn. One that does not exist is 0.
func (a *Appliance) Metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	sum := 0.0
	for _, m := range a.AllMetrics(t)[name].GetMetric() {
		if Has(m, labels...) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// Has says whether a metric has the given labels, name and value in turn.
func Has(m *dto.Metric, labels ...string) bool {
	for i := 0; i+1 < len(labels); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}
