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

// secretNames matches names of secret values.
var secretNames = regexp.MustCompile(`(?i)secret|token|seed|password|passwd|private|credential|signing`)

// exceptions are plain fields with such names, and why they hold no secret or must be
// plain.
var exceptions = map[string]string{
	"record.Record.Secret":                     "the name of a dynamic secret",
	"messages.Lease.Secret":                    "the name of a dynamic secret",
	"messages.LeaseName.Secret":                "the name of a dynamic secret",
	"messages.ListRequest.Secret":              "the name of a dynamic secret",
	"messages.LeaseCommand.Secret":             "the name of a dynamic secret",
	"messages.Command.Secret":                  "the name of a dynamic secret",
	"messages.wireCredentials.SecretAccessKey": "the form on the wire",
	"messages.wireCredentials.SessionToken":    "the form on the wire",
	"messages.struct.SecretAccessKey":          "the form on the wire, of a put",
	"client.EventFilter.Secret":                "the name of a dynamic secret",
	"client.opener.seed":                       "bytes, overwritten after use",
	"main.struct.SecretAccessKey":              "what lessor request prints for the AWS tools",
	"main.struct.SessionToken":                 "what lessor request prints for the AWS tools",
	"main.serveCmd.secrets":                    "the folder of the definitions",
	"username.Data.Secret":                     "the name of a dynamic secret",
	"admin.struct.Secret":                      "the name of a dynamic secret",
	"api.apiRequest.tokens":                    "of a subject",
	"broker.ServeOptions.Secrets":              "the folder of the definitions",
	"cli.Connection.password":                  "of NATS, as a flag, which the process list shows; --creds is the alternative",
	"cli.Connection.token":                     "of NATS, as a flag",
	"leak.form.secret":                         "the secret that tests search for",
	"measure.Settings.Secret":                  "the name of a dynamic secret",
	"measure.Settings.SoftSecret":              "the name of a dynamic secret",
	"world.Remote.Secret":                      "the name of a dynamic secret",
	"queue.Task.Tokens":                        "of a subject",
}

// notProduct are folders of code for tests, which is not part of the product.
var notProduct = map[string]bool{"iamsim": true, "lessor-soak": true, "lessortest": true, "awstest": true, "testdata": true}

// TestSecretFieldsAreSensitive parses all structs of the product. A field of strings or
// bytes with the name of a secret must be of the type Sensitive or be in exceptions.
func TestSecretFieldsAreSensitive(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (notProduct[d.Name()] || strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(d.Name(), "soak"):
			return nil
		}
		for _, field := range openFields(t, path) {
			seen[field] = true
			if exceptions[field] == "" {
				t.Errorf("%s: %s has the name of a secret and is plain: make it Sensitive, or add it to exceptions with the reason", path, field)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for field := range exceptions {
		if !seen[field] {
			t.Errorf("there is no field %s: remove it from exceptions", field)
		}
	}
}

// openFields returns the fields of the structs in a file that have the name of a secret
// and are strings or bytes.
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
					if secretNames.MatchString(name.Name) && isOpen(f.Type) {
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

// isOpen reports whether a type is plain: strings and bytes, and pointers, slices and
// maps of them.
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

func TestOpenFieldsFindsPlainSecrets(t *testing.T) {
	found := strings.Join(openFields(t, filepath.Join("testdata", "open.go.txt")), " ")
	want := "leaky.leaky.password leaky.leaky.Tokens leaky.leaky.SeedFile leaky.leaky.privates leaky.struct.Secret"
	if found != want {
		t.Errorf("found %s, want %s", found, want)
	}
}
