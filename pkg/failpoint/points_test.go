package failpoint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/usherhq/usher/pkg/failpoint"
)

// constants are the names of points by the constants that hold them.
func constants(t *testing.T) map[string]failpoint.Name {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "points.go", nil, 0)
	require.NoError(t, err)
	found := map[string]failpoint.Name{}
	ast.Inspect(file, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if text, ok := v.Values[0].(*ast.BasicLit); ok {
				name, err := strconv.Unquote(text.Value)
				require.NoError(t, err)
				found[v.Names[0].Name] = failpoint.Name(name)
			}
		}
		return true
	})
	return found
}

// product calls look with every file of the product, tests left out.
func product(t *testing.T, look func(path string, file *ast.File)) {
	t.Helper()
	for _, root := range []string{"../../events", "../../pkg", "../../services"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			look(path, file)
			return err
		}))
	}
}

// point is the constant in "failpoint.Here(failpoint.X)", empty for anything else.
func point(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok || selected(call.Fun) != "Here" || len(call.Args) != 1 {
		return ""
	}
	return selected(call.Args[0])
}

// selected is X of "failpoint.X".
func selected(n ast.Node) string {
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if of, ok := s.X.(*ast.Ident); !ok || of.Name != "failpoint" {
		return ""
	}
	return s.Sel.Name
}

func TestEachPointStandsInOnePlaceOfTheSource(t *testing.T) {
	known, places := constants(t), map[string][]string{}
	product(t, func(path string, file *ast.File) {
		ast.Inspect(file, func(n ast.Node) bool {
			if line, ok := n.(*ast.ExprStmt); ok {
				if name := point(line.X); name != "" {
					places[name] = append(places[name], path)
					return false // so that what is left is no plain line
				}
			}
			require.NotEqual(t, "Here", selected(n), "%s: a point is a line of its own, with one of the constants", path)
			return true
		})
	})
	for constant := range known {
		require.Len(t, places[constant], 1, "%s stands in %v", constant, places[constant])
	}
	for constant := range places {
		require.Contains(t, known, constant)
	}
}

func TestTheTableHasEachPointOnce(t *testing.T) {
	wellFormed, rows := regexp.MustCompile(`^[a-z]+\.[a-z_]+$`), map[failpoint.Name]bool{}
	for _, p := range failpoint.Points {
		require.Regexp(t, wellFormed, p.Name)
		require.False(t, rows[p.Name], "%s is there twice", p.Name)
		require.Regexp(t, `^[A-Z].+[^ ]\.$`, p.About, p.Name)
		rows[p.Name] = true
	}
	for constant, name := range constants(t) {
		require.True(t, rows[name], "%s is not in the table", constant)
		delete(rows, name)
	}
	require.Empty(t, rows, "two constants are the same")
}

func TestEachDashBetweenStepsHasAPoint(t *testing.T) {
	covered := map[string]bool{}
	for _, p := range failpoint.Points {
		for _, steps := range strings.FieldsFunc(p.Steps, func(c rune) bool { return c == ',' || c == ' ' }) {
			for _, dash := range dashes(t, p.Name, steps) {
				covered[dash] = true
			}
		}
	}
	for _, way := range failpoint.Steps {
		for i := range way[1:] {
			require.True(t, covered[way[i]+"-"+way[i+1]], "nothing stands between %s and %s", way[i], way[i+1])
		}
	}
}

// dashes are those that "M2-M4" spans: M2-M3 and M3-M4; none for a single step.
func dashes(t *testing.T, name failpoint.Name, steps string) (spanned []string) {
	t.Helper()
	from, to, between := strings.Cut(steps, "-")
	for _, way := range failpoint.Steps {
		for i, step := range way {
			if step != from {
				continue
			}
			if !between {
				return nil
			}
			for j := i + 1; j < len(way); j++ {
				spanned = append(spanned, way[j-1]+"-"+way[j])
				if way[j] == to {
					return spanned
				}
			}
		}
	}
	require.Fail(t, "no such steps", "%s stands at %q", name, steps)
	return nil
}

// In a normal build both of these are an empty loop. They count by themselves, because b.Loop keeps what is in it from
// vanishing.
func BenchmarkHere(b *testing.B) {
	for range b.N {
		failpoint.Here(failpoint.LedgerAloneStored)
	}
}

func BenchmarkNothing(b *testing.B) {
	for n := range b.N {
		_ = n
	}
}
