package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"registrycache/e2e/harness"
)

// expressions are those of the alerts and of the dashboard, by where they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, group := range alertGroups(t) {
		for _, rule := range group.Rules {
			found[rule.Alert] = rule.Expr
		}
	}
	for _, panel := range dashboard(t).Panels {
		for _, target := range panel.Targets {
			found[panel.Title+" "+target.RefID] = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
		}
	}
	return found
}

type alertGroup struct {
	Name  string
	Rules []struct {
		Alert, Expr, For    string
		Labels, Annotations map[string]string
	}
}

func alertGroups(t *testing.T) []alertGroup {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deployDir(t), "prometheus", "alerts.yml"))
	require.NoError(t, err)
	var file struct{ Groups []alertGroup }
	require.NoError(t, yaml.Unmarshal(content, &file))
	require.NotEmpty(t, file.Groups)
	return file.Groups
}

type grafana struct {
	UID, Title    string
	SchemaVersion int
	Panels        []struct {
		ID          int
		Type, Title string
		GridPos     struct{ X, Y, W, H int }
		Targets     []struct{ RefID, Expr string }
	}
}

func dashboard(t *testing.T) grafana {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(deployDir(t), "grafana", "registry-cache.json"))
	require.NoError(t, err)
	var d grafana
	require.NoError(t, json.Unmarshal(content, &d))
	return d
}

var (
	metricName = regexp.MustCompile(`\b(?:registry_cache|process)_[a-z_]+\b`)
	selector   = regexp.MustCompile(`\b((?:registry_cache|process)_[a-z_]+)\{([^}]*)\}`)
	labelName  = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping   = regexp.MustCompile(`\bby \(([a-z_, ]+)\)`)
)

// A renamed metric would leave an alert silent and a panel empty.
func TestAlertsAndDashboardShowWhatThereIs(t *testing.T) {
	t.Parallel()
	u := harness.NewUpstream(t)
	u.Push(t, "podman/hello:latest", harness.Image(t, 3000))
	u.Inject("", "/manifests/", harness.AddHeader("RateLimit-Limit", "100;w=21600", "RateLimit-Remaining", "76;w=21600"))
	a := harness.Cache(t, u)
	harness.Skopeo(t).Copy(a.Addr+"/quay.io/podman/hello:latest", "--src-tls-verify=false")
	families := a.AllMetrics(t)
	for where, expr := range expressions(t) {
		for _, name := range metricName.FindAllString(expr, -1) {
			require.NotNil(t, familyOf(families, name), "%s: %s", where, expr)
		}
		for _, match := range grouping.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(match[1], ", ") {
				require.True(t, slices.Contains([]string{"instance", "le"}, label) ||
					slices.ContainsFunc(metricName.FindAllString(expr, -1), func(name string) bool { return hasLabel(familyOf(families, name), label) }),
					"%s: nothing in %s has the label %s", where, expr, label)
			}
		}
		for _, match := range selector.FindAllStringSubmatch(expr, -1) {
			for _, label := range labelName.FindAllStringSubmatch(match[2], -1) {
				if label[1] != "instance" { // of Prometheus itself
					require.True(t, hasLabel(familyOf(families, match[1]), label[1]), "%s: %s has no label %s", where, match[1], label[1])
				}
			}
		}
	}
}

// familyOf is the family that has the series called name; nil if there is none.
func familyOf(families map[string]*dto.MetricFamily, name string) *dto.MetricFamily {
	if base, ok := strings.CutSuffix(name, "_bucket"); ok && families[base].GetType() == dto.MetricType_HISTOGRAM {
		return families[base]
	}
	return families[name]
}

func hasLabel(family *dto.MetricFamily, name string) bool {
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == name {
				return true
			}
		}
	}
	return false
}

// Each alert says what is wrong, and the documentation what to do.
func TestAlertsAreExplained(t *testing.T) {
	t.Parallel()
	operations, err := os.ReadFile(filepath.Join(deployDir(t), "..", "docs", "OPERATIONS.md"))
	require.NoError(t, err)
	for _, group := range alertGroups(t) {
		for _, rule := range group.Rules {
			require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"], rule.Alert)
			require.Contains(t, string(operations), "`"+rule.Alert+"`")
		}
	}
}

func TestDashboardIsLaidOut(t *testing.T) {
	t.Parallel()
	d := dashboard(t)
	require.Equal(t, "registry-cache", d.UID)
	require.NotZero(t, d.SchemaVersion)
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, cells[cell], "%s lies over %s", p.Title, cells[cell])
				cells[cell] = p.Title
			}
		}
	}
}

// Prometheus takes the files, the alerts fire when they should, and what the
// dashboard asks is PromQL.
func TestPrometheusFiles(t *testing.T) {
	t.Parallel()
	root, err := harness.ModuleRoot()
	require.NoError(t, err)
	// install-tools puts it there.
	promtool := tool(t, "promtool", filepath.Join(root, "bin", "promtool"))
	dir := filepath.Join(deployDir(t), "prometheus")
	runIn(t, dir, promtool, "check", "config", "prometheus.yml")
	runIn(t, dir, promtool, "test", "rules", "alerts_test.yml")

	type rule struct {
		Record, Expr string
		Labels       map[string]string
	}
	var rules []rule
	for where, expr := range expressions(t) {
		rules = append(rules, rule{"registry_cache:test", expr, map[string]string{"at": where}})
	}
	content, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "test", "rules": rules}}})
	require.NoError(t, err)
	file := filepath.Join(harness.TempDir(t), "rules.yml")
	harness.WriteFile(t, file, string(content))
	runIn(t, dir, promtool, "check", "rules", file)
}
