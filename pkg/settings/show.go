package settings

import (
	"fmt"
	"reflect"
	"strings"
)

// Field is one setting as documented.
type Field struct {
	// Name is the field of Settings, Env the variable.
	Name, Env string
	// Default is the default as written, empty for none.
	Default string
	Secret  bool
	About   string
}

// Fields lists all settings in their documented order.
func Fields() []Field {
	t := reflect.TypeFor[Settings]()
	fields := make([]Field, 0, t.NumField())
	for f := range t.Fields() {
		fields = append(fields, Field{
			Name: f.Name, Env: f.Tag.Get("env"), Default: f.Tag.Get("envDefault"), Secret: f.Tag.Get("secret") == "true", About: f.Tag.Get("about"),
		})
	}
	return fields
}

// Value is one setting as it is in force.
type Value struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	About string `json:"about"`
}

// Values lists what is in force, secrets masked.
func (s Settings) Values() []Value {
	v := reflect.ValueOf(s)
	var values []Value
	for _, f := range Fields() {
		text := fmt.Sprint(v.FieldByName(f.Name).Interface())
		if list, ok := v.FieldByName(f.Name).Interface().([]string); ok {
			text = strings.Join(list, ",")
		}
		if f.Secret && text != "" {
			text = "(set)"
		}
		values = append(values, Value{Name: f.Env, Value: text, About: f.About})
	}
	return values
}

// Markdown is the table of settings for the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| name | meaning (default) |\n|---|---|\n")
	for _, f := range Fields() {
		name := "`" + f.Env + "`"
		if f.Secret {
			name += ", `" + f.Env + "_FILE`"
		}
		about := f.About
		if f.Default != "" {
			about += " (`" + f.Default + "`)"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", name, about)
	}
	return b.String()
}
