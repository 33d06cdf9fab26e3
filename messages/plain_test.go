package messages_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// secretly are names of what must not be seen.
var secretly = regexp.MustCompile(`(?i)secret|token|seed|password|passwd|private|credential|signing`)

// openly are struct fields that are called so and hold no secret, or hold one where it
// can't be otherwise, with the reason.
var openly = map[string]string{
	"record.Record.Secret":                     "the name of a dynamic secret",
	"messages.Lease.Secret":                    "the name of a dynamic secret",
	"record.indexed.Secret":                    "the name of a dynamic secret",
	"messages.LeaseName.Secret":                "the name of a dynamic secret",
	"messages.ListRequest.Secret":              "the name of a dynamic secret",
	"messages.LeaseCommand.Secret":             "the name of a dynamic secret",
	"messages.Command.Secret":                  "the name of a dynamic secret",
	"messages.wireCredentials.SecretAccessKey": "the form on the wire",
	"messages.wireCredentials.SessionToken":    "the form on the wire",
	"messages.struct.SecretAccessKey":          "the form on the wire, of a put",
	"client.EventFilter.Secret":                "the name of a dynamic secret",
	"client.opener.seed":                       "bytes, overwritten after use",
	"consumer.struct.Secret":                   "the name of a dynamic secret",
	"consumer.inbound.tokens":                  "of a subject",
	"consumer.knock.tokens":                    "of a subject",
	"main.benchCmd.secret":                     "the name of a dynamic secret",
	"main.connection.password":                 "of NATS, as a flag, which the system shows to everybody anyway: use --creds",
	"main.connection.token":                    "of NATS, likewise",
	"main.struct.SecretAccessKey":              "what lessor request prints for the AWS tools",
	"main.struct.SessionToken":                 "what lessor request prints for the AWS tools",
	"main.serveCmd.secrets":                    "the folder of the definitions",
	"username.Data.Secret":                     "the name of a dynamic secret",
	"queue.Task.Tokens":                        "of a subject",
}

// TestNoFieldHoldsASecretInTheOpen reads all structs of the program: a text or bytes
// that are called as secrets are must be of the type Sensitive, or be explained above.
// The simulator, which plays AWS, and the soak's tables are not what a broker runs.
func TestNoFieldHoldsASecretInTheOpen(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "iamsim" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(d.Name(), "soak"):
			return nil
		}
		for _, field := range openFields(t, path) {
			seen[field] = true
			if openly[field] == "" {
				t.Errorf("%s: %s holds a secret in the open, by its name: make it Sensitive, or say above what it is", path, field)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for field := range openly {
		if !seen[field] {
			t.Errorf("%s is explained, and not there", field)
		}
	}
}

// openFields are the fields of structs in a file that are called as secrets are and are
// texts or bytes.
func openFields(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[*ast.StructType]string{}
	var found []string
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if s, ok := n.Type.(*ast.StructType); ok {
				names[s] = n.Name.Name
			}
		case *ast.StructType:
			for _, f := range n.Fields.List {
				for _, name := range f.Names {
					if secretly.MatchString(name.Name) && isOpen(f.Type) {
						owner := names[n]
						if owner == "" {
							owner = "struct"
						}
						found = append(found, file.Name.Name+"."+owner+"."+name.Name)
					}
				}
			}
		}
		return true
	})
	return found
}

// isOpen says whether values of a type show when they are printed: texts and bytes,
// and pointers, lists and maps of them.
func isOpen(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "string" || e.Name == "byte"
	case *ast.StarExpr:
		return isOpen(e.X)
	case *ast.ArrayType:
		return isOpen(e.Elt)
	case *ast.MapType:
		return isOpen(e.Value)
	case *ast.SelectorExpr:
		return e.Sel.Name == "RawMessage"
	}
	return false
}

func TestTheSearchForOpenFieldsFindsThem(t *testing.T) {
	found := strings.Join(openFields(t, filepath.Join("testdata", "open.go.txt")), " ")
	want := "leaky.leaky.password leaky.leaky.Tokens leaky.leaky.SeedFile leaky.leaky.privates leaky.struct.Secret"
	if found != want {
		t.Errorf("found %s, want %s", found, want)
	}
}
