package iamsim_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/lessorhq/lessor/provider/iamsim"
)

// The values are at and just beyond the limits of CreateUser.
func TestCreateUserParameterLimits(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.AddPolicy("arn:aws:iam::123456789012:policy/team/edge", denyAfter)
	tagged := func(key, value string) iam.CreateUserInput {
		return iam.CreateUserInput{UserName: ptr("u"), Tags: []iamtypes.Tag{{Key: &key, Value: &value}}}
	}
	at := func(path string) iam.CreateUserInput { return iam.CreateUserInput{UserName: ptr("u"), Path: &path} }
	named := func(name string) iam.CreateUserInput { return iam.CreateUserInput{UserName: &name} }
	bound := func(arn string) iam.CreateUserInput {
		return iam.CreateUserInput{UserName: ptr("u"), PermissionsBoundary: &arn}
	}
	for name, test := range map[string]struct {
		in   iam.CreateUserInput
		want string
	}{
		"name of 1":             {named("u"), ""},
		"name of 64":            {named(strings.Repeat("u", 64)), ""},
		"name of 65":            {named(strings.Repeat("u", 65)), "ValidationError"},
		"name empty":            {named(""), "ValidationError"},
		"name of all chars":     {named("aZ09_+=,.@-"), ""},
		"name with slash":       {named("a/b"), "ValidationError"},
		"name not ASCII":        {named("ä"), "ValidationError"},
		"path root":             {at("/"), ""},
		"path of 512":           {at("/" + strings.Repeat("p", 510) + "/"), ""},
		"path of 513":           {at("/" + strings.Repeat("p", 511) + "/"), "ValidationError"},
		"path without end":      {at("/p"), "ValidationError"},
		"path without start":    {at("p/"), "ValidationError"},
		"path with space":       {at("/p p/"), "ValidationError"},
		"tag key of 128":        {tagged(strings.Repeat("ü", 128), ""), ""},
		"tag key of 129":        {tagged(strings.Repeat("k", 129), ""), "ValidationError"},
		"tag key empty":         {tagged("", "v"), "ValidationError"},
		"tag key bad char":      {tagged("k*", "v"), "ValidationError"},
		"tag value of 256":      {tagged("k", strings.Repeat("ü", 256)), ""},
		"tag value of 257":      {tagged("k", strings.Repeat("v", 257)), "ValidationError"},
		"tag value bad char":    {tagged("k", "v;"), "ValidationError"},
		"tag of AWS":            {tagged("AWS:k", "v"), "InvalidInput"},
		"tag nearly of AWS":     {tagged("awsk", "v"), ""},
		"tags of 50":            {iam.CreateUserInput{UserName: ptr("u"), Tags: manyTags(0, 50)}, ""},
		"tags of 51":            {iam.CreateUserInput{UserName: ptr("u"), Tags: manyTags(0, 51)}, "ValidationError"},
		"tags but for case":     {iam.CreateUserInput{UserName: ptr("u"), Tags: []iamtypes.Tag{{Key: ptr("k"), Value: ptr("")}, {Key: ptr("K"), Value: ptr("")}}}, "InvalidInput"},
		"boundary":              {bound("arn:aws:iam::123456789012:policy/team/edge"), ""},
		"boundary missing":      {bound("arn:aws:iam::123456789012:policy/edge"), "NoSuchEntity"},
		"boundary no ARN":       {bound("arn:aws:iam::123456789012:user/team/edge"), "ValidationError"},
		"boundary too short":    {bound("policy/edge"), "ValidationError"},
		"boundary of AWS":       {bound("arn:aws:iam::aws:policy/PowerUserAccess"), ""},
		"boundary of job":       {bound("arn:aws:iam::aws:policy/job-function/ViewOnlyAccess"), ""},
		"boundary none of AWS":  {bound("arn:aws:iam::aws:policy/NoSuchAccess"), "NoSuchEntity"},
		"boundary of elsewhere": {bound("arn:aws-cn:iam::aws:policy/ReadOnlyAccess"), "NoSuchEntity"},
	} {
		t.Run(name, func(t *testing.T) {
			w := w.in(t)
			_, err := w.iam.CreateUser(ctx, &test.in)
			w.want(err, test.want)
			if err == nil {
				w.RemoveUser(*test.in.UserName)
			}
		})
	}
}

func manyTags(from, to int) []iamtypes.Tag {
	var tags []iamtypes.Tag
	for i := from; i < to; i++ {
		tags = append(tags, iamtypes.Tag{Key: ptr(fmt.Sprintf("key%d", i)), Value: ptr("v")})
	}
	return tags
}

func TestUserNamesIgnoreCase(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("Alice")
	_, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("aLICE"), Path: ptr("/elsewhere/")})
	w.wantMessage(err, "EntityAlreadyExists", "User with name aLICE already exists.")
	_, err = w.iam.GetUser(ctx, &iam.GetUserInput{UserName: ptr("bob")})
	w.wantMessage(err, "NoSuchEntity", "The user with name bob cannot be found.")
}

func TestUserQuota(t *testing.T) {
	w := newWorld(t, iamsim.Options{MaxUsers: 2})
	w.user("a")
	w.user("b")
	_, err := w.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: ptr("c")})
	w.wantMessage(err, "LimitExceeded", "Cannot exceed quota for UsersPerAccount: 2")
	_, err = w.iam.DeleteUser(ctx, &iam.DeleteUserInput{UserName: ptr("a")})
	w.want(err, "")
	w.user("c")
}

func TestKeyQuota(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	id, _ := w.key("alice")
	w.key("alice")
	_, err := w.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: ptr("alice")})
	w.wantMessage(err, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2")
	_, err = w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: ptr("alice"), AccessKeyId: &id})
	w.want(err, "")
	_, err = w.iam.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: ptr("alice"), AccessKeyId: &id})
	w.wantMessage(err, "NoSuchEntity", "The Access Key with id "+id+" cannot be found.")
	w.key("alice")
}

func TestGroupQuota(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	join := func(group string) error {
		_, err := w.iam.AddUserToGroup(ctx, &iam.AddUserToGroupInput{UserName: ptr("alice"), GroupName: &group})
		return err
	}
	for i := range 11 {
		w.AddGroup(fmt.Sprintf("g%d", i))
	}
	for i := range 10 {
		w.want(join(fmt.Sprintf("g%d", i)), "")
	}
	w.want(join("G9"), "") // again
	w.wantMessage(join("g10"), "LimitExceeded", "Cannot exceed quota for GroupsPerUser: 10")
	w.wantMessage(join("none"), "NoSuchEntity", "The group with name none cannot be found.")
	for range 2 { // the second time alice is not a member
		_, err := w.iam.RemoveUserFromGroup(ctx, &iam.RemoveUserFromGroupInput{UserName: ptr("alice"), GroupName: ptr("g0")})
		w.want(err, "")
	}
	w.want(join("g10"), "")
}

func TestAttachedPolicyQuota(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	attach := func(arn string) error {
		_, err := w.iam.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: ptr("alice"), PolicyArn: &arn})
		return err
	}
	arn := func(i int) string { return fmt.Sprintf("arn:aws:iam::123456789012:policy/p%d", i) }
	for i := range 11 {
		w.AddPolicy(arn(i), denyAfter)
	}
	for i := range 10 {
		w.want(attach(arn(i)), "")
	}
	w.want(attach(arn(9)), "") // again
	w.wantMessage(attach(arn(10)), "LimitExceeded", "Cannot exceed quota for PoliciesPerUser: 10")
	w.wantMessage(attach(arn(11)), "NoSuchEntity", "Policy "+arn(11)+" does not exist or is not attachable.")
	w.want(attach("arn:aws:iam::123456789012:group/readers"), "ValidationError")
	detach := func(arn string) error {
		_, err := w.iam.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: ptr("alice"), PolicyArn: &arn})
		return err
	}
	w.want(detach(arn(0)), "")
	w.want(detach(arn(0)), "NoSuchEntity")
	w.want(attach(arn(10)), "")
}

func TestTagQuota(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	tag := func(tags []iamtypes.Tag) error {
		_, err := w.iam.TagUser(ctx, &iam.TagUserInput{UserName: ptr("alice"), Tags: tags})
		return err
	}
	w.want(tag(manyTags(0, 50)), "")
	w.want(tag(manyTags(50, 51)), "LimitExceeded")
	w.want(tag([]iamtypes.Tag{{Key: ptr("KEY7"), Value: ptr("new")}}), "") // the same key
	have, _ := w.User("alice")
	if len(have.Tags) != 50 || have.Tags["KEY7"] != "new" {
		t.Errorf("tags: %v", have.Tags)
	}
	_, err := w.iam.UntagUser(ctx, &iam.UntagUserInput{UserName: ptr("alice"), TagKeys: []string{"key7", "missing"}})
	w.want(err, "")
	w.want(tag(manyTags(50, 51)), "")
}

// The quota counts the characters of all inline policies together, without white space.
func TestInlinePolicyQuota(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	put := func(name, doc string) error {
		_, err := w.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: ptr("alice"), PolicyName: &name, PolicyDocument: &doc})
		return err
	}
	ofSize := func(n int) string {
		const frame = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::"}]}`
		return strings.Replace(frame, ":::", ":::"+strings.Repeat("b", n-len(frame)), 1)
	}
	w.want(put("a", ofSize(1000)), "")
	w.want(put("b", ofSize(1048)), "")
	w.want(put("b", strings.ReplaceAll(ofSize(1048), ",", ", \n\t\r")), "")
	w.wantMessage(put("b", ofSize(1049)), "LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user alice")
	w.want(put("a", ofSize(200)), "")
	w.want(put("b", ofSize(1848)), "")
	w.want(put("c", ofSize(120)), "LimitExceeded")
}

func TestMalformedPoliciesAreRefused(t *testing.T) {
	w := newWorld(t, iamsim.Options{})
	w.user("alice")
	statement := func(s string) string { return `{"Version":"2012-10-17","Statement":` + s + `}` }
	const good = `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`
	const malformed = "MalformedPolicyDocument"
	for doc, want := range map[string]string{
		statement(good):                          "",
		statement("[" + good + "," + good + "]"): "",
		statement(`{"Effect":"Allow","NotAction":["iam:*","s3:Get?"],"NotResource":["arn:aws:s3:::b/*"]}`):                       "",
		statement(`{"Sid":"A1","Effect":"Deny","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":false}}}`): "",
		`{`:                          malformed,
		`[]`:                         malformed,
		`{"Statement":` + good + `}`: malformed,
		`{"Version":"2012-10-17"}`:   malformed,
		`{"Version":"2020","Statement":` + good + `}`: malformed,
		statement(`[]`):       malformed,
		statement(good) + "x": malformed,
		statement(`{"Effect":"Permit","Action":"s3:*","Resource":"*"}`):                                 malformed,
		statement(`{"Effect":"Allow","Resource":"*"}`):                                                  malformed,
		statement(`{"Effect":"Allow","Action":"s3:*"}`):                                                 malformed,
		statement(`{"Effect":"Allow","Action":"s3:*","NotAction":"s3:*","Resource":"*"}`):               malformed,
		statement(`{"Effect":"Allow","Action":"s3","Resource":"*"}`):                                    malformed,
		statement(`{"Effect":"Allow","Action":[{}],"Resource":"*"}`):                                    malformed,
		statement(`{"Effect":"Allow","Action":"s3:*","Resource":"bucket"}`):                             malformed,
		statement(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Principal":"*"}`):                  malformed,
		statement(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Sid":"a b"}`):                      malformed,
		statement(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Colour":"red"}`):                   malformed,
		statement(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Like":{"a:b":"c"}}}`): malformed,
		statement(`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"Bool":{"ab":"c"}}}`):  malformed,
		"": "ValidationError",
		statement(strings.Replace(good, "*", "€", 1)): "ValidationError",
	} {
		_, err := w.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: ptr("alice"), PolicyName: ptr("p"), PolicyDocument: &doc})
		if got := codeOf(err); got != want {
			t.Errorf("%s: %v, want %q", doc, err, want)
		}
	}
}
