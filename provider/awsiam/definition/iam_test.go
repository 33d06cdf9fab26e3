package definition

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/lessorhq/lessor/messages"
	"github.com/lessorhq/lessor/provider/awsiam/internal/awstest"
)

// IAM accepts the same inline policies as Check.
func TestCheckAndIAMAgree(t *testing.T) {
	t.Parallel()
	const one = `{"Version":"2012-10-17","Statement":{"Effect":"Allow",%s}}`
	b := newFixture(t)
	b.AddUser(awstest.UserName, "/", nil)
	client := iam.New(iam.Options{Region: "eu-central-1", BaseEndpoint: &b.url, Credentials: b.keyOf("operator", awstest.AllowAll)})
	for statement, good := range map[string]bool{
		`"Action":"s3:Get*","Resource":"arn:aws:s3:::b/${aws:PrincipalTag/x}/*"`:                                                         true,
		`"NotAction":["iam:*","organizations:*"],"NotResource":"arn:aws:s3:::b"`:                                                         true,
		`"Sid":"","Action":"*:*","Resource":["arn:aws:s3:::b","arn:aws:dynamodb:*:*:table/${aws:username}"]`:                             true,
		`"Action":"sts:AssumeRole","Resource":"arn:*:iam::*:role/*","Condition":{}`:                                                      true,
		`"Action":"s3:*","Resource":"*","Condition":{"DateGreaterThan":{"aws:CurrentTime":[]}}`:                                          true,
		`"Action":"iam:TagUser","Resource":"*","Condition":{"ForAllValues:StringEqualsIfExists":{"aws:TagKeys":["a","b"]}}`:              true,
		`"Action":"s3:ListBucket","Resource":"arn:aws:s3:::b","Condition":{"StringLike":{"s3:prefix":["","home/${aws:userid}/*"]}}`:      true,
		`"Action":"ec2:*","Resource":"*","Condition":{"Bool":{"aws:ViaAWSService":true},"NumericLessThan":{"aws:MultiFactorAuthAge":7}}`: true,
		`"Action":"ec2:*","Resource":"*","Condition":{"Null":{"aws:TokenIssueTime":"true"}}`:                                             true,
		`"Action":"ec2:*","Resource":"*","Condition":{"NullIfExists":{"aws:TokenIssueTime":"true"}}`:                                     false,
		`"Action":"ec2:*","Resource":"*","Condition":{"ForAnyValue::StringEquals":{"aws:TagKeys":"x"}}`:                                  false,
		`"Action":"s3:List:Bucket","Resource":"*"`:                                                                                       false,
		`"Action":"s3:*","Resource":"arn:aws:s3::b"`:                                                                                     false,
		`"Action":"s3:*","Resource":""`:                 false,
		`"Action":[["s3:*"]],"Resource":"*"`:            false,
		`"Action":"s3:*","NotAction":[],"Resource":"*"`: false,
		`"Action":"s3:*","Resource":{"a":"b"}`:          false,
	} {
		document := fmt.Sprintf(one, statement)
		s := awstest.Definition()
		s.AWS.InlinePolicy = messages.Policy(document)
		if err := Check(s); (err == nil) != good {
			t.Errorf("%s: Check says %v", document, err)
		}
		_, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{
			UserName: aws.String(awstest.UserName), PolicyName: aws.String("x"), PolicyDocument: &document,
		})
		if (err == nil) != good {
			t.Errorf("%s: IAM says %v", document, err)
		}
	}
}
