package username

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
)

// allowed ends every error about a template.
const allowed = "allowed are the variables randomUsername, unixTimestamp, identity.name, dynamicSecret.name and " +
	"dynamicSecret.type, and the functions random, truncate, replace, uppercase and lowercase"

// variables are the functions without arguments, with their fields.
var variables = map[string][]string{
	"identity":       {"name"},
	"dynamicSecret":  {"name", "type"},
	"randomUsername": nil,
	"unixTimestamp":  nil,
}

// checkTemplate returns an error for anything that is not allowed. A template that it
// accepts can neither loop nor grow without bounds.
func checkTemplate(t *template.Template) error {
	for _, other := range t.Templates() {
		if other.Name() != t.Name() {
			return fmt.Errorf("a template inside the template is not allowed")
		}
	}
	if t.Tree == nil || t.Root == nil {
		return fmt.Errorf("is empty")
	}
	for _, n := range t.Root.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
		case *parse.ActionNode:
			if err := checkPipe(n.Pipe); err != nil {
				return err
			}
		default:
			return notAllowed(n)
		}
	}
	return nil
}

func checkPipe(p *parse.PipeNode) error {
	if len(p.Decl) > 0 {
		return notAllowed(p)
	}
	for _, c := range p.Cmds {
		for _, arg := range c.Args {
			if err := checkArgument(arg); err != nil {
				return err
			}
		}
	}
	return nil
}

// errQuotes is for operators who know the templates of other systems.
var errQuotes = errors.New("text must be in double quotes, not in single ones")

// checkArgument checks an argument of a command. The first one is the function that it
// calls.
func checkArgument(n parse.Node) error {
	switch n := n.(type) {
	case *parse.StringNode:
		return nil
	case *parse.NumberNode:
		if strings.HasPrefix(n.Text, "'") {
			return errQuotes
		}
		if n.IsInt {
			return nil
		}
	case *parse.PipeNode:
		return checkPipe(n)
	case *parse.IdentifierNode:
		if fields, ok := variables[n.Ident]; ok && fields != nil {
			return fmt.Errorf("%s needs a field, such as %s.%s", n.Ident, n.Ident, fields[0])
		}
		if slices.Contains(names, n.Ident) {
			return nil
		}
	case *parse.ChainNode:
		if id, ok := n.Node.(*parse.IdentifierNode); ok && len(n.Field) == 1 && slices.Contains(variables[id.Ident], n.Field[0]) {
			return nil
		}
	}
	return notAllowed(n)
}

// names are the names of all variables and functions.
var names = slices.Collect(maps.Keys(new(Data).functions()))

func notAllowed(n parse.Node) error {
	return fmt.Errorf("%.40q is not allowed", n.String())
}

// Texts returns the literal texts of the template that may be part of a name. These are
// all texts except the patterns of replace and the strings that they are matched with.
// References to groups ($1) are removed from the replacements.
func (t *Template) Texts() []string {
	var texts []string
	for _, n := range t.parsed.Root.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			texts = append(texts, string(n.Text))
		case *parse.ActionNode:
			texts = append(texts, pipeTexts(n.Pipe)...)
		}
	}
	return texts
}

var group = regexp.MustCompile(`\$(\w+|\{\w+\})`)

func pipeTexts(p *parse.PipeNode) []string {
	var texts []string
	for _, c := range p.Cmds {
		args := c.Args
		if id, ok := args[0].(*parse.IdentifierNode); ok && id.Ident == "replace" && len(args) > 2 {
			args = args[3:]
		}
		for _, arg := range args {
			switch arg := arg.(type) {
			case *parse.StringNode:
				texts = append(texts, group.ReplaceAllString(arg.Text, ""))
			case *parse.PipeNode:
				texts = append(texts, pipeTexts(arg)...)
			}
		}
	}
	return texts
}
