package iamsim

// awsPolicies are some of the AWS managed policies, by name; their paths are ignored. Long policies are abridged.
var awsPolicies = map[string]string{
	"AdministratorAccess": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`,
	"PowerUserAccess": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"},
		{"Effect":"Allow","Action":["account:GetAccountInformation","account:ListRegions","iam:ListRoles","organizations:DescribeOrganization"],"Resource":"*"}]}`,
	"ReadOnlyAccess":          allowing(`["*:Get*","*:List*","*:Describe*","*:BatchGet*","*:Search*","*:View*"]`),
	"ViewOnlyAccess":          allowing(`["*:List*","*:Describe*","iam:GetAccountSummary","s3:GetBucketLocation"]`),
	"SecurityAudit":           allowing(`["*:List*","*:Describe*","iam:Get*","iam:GenerateCredentialReport","s3:GetBucket*","s3:GetEncryptionConfiguration"]`),
	"IAMFullAccess":           allowing(`["iam:*"]`),
	"IAMReadOnlyAccess":       allowing(`["iam:GenerateCredentialReport","iam:Get*","iam:List*","iam:Simulate*"]`),
	"AmazonS3FullAccess":      allowing(`["s3:*","s3-object-lambda:*"]`),
	"AmazonS3ReadOnlyAccess":  allowing(`["s3:Get*","s3:List*","s3:Describe*","s3-object-lambda:Get*","s3-object-lambda:List*"]`),
	"AmazonEC2FullAccess":     allowing(`["ec2:*","elasticloadbalancing:*","cloudwatch:*","autoscaling:*"]`),
	"AmazonEC2ReadOnlyAccess": allowing(`["ec2:Describe*","ec2:Get*","elasticloadbalancing:Describe*","autoscaling:Describe*"]`),
	"AmazonSQSFullAccess":     allowing(`["sqs:*"]`),
	"AmazonSNSFullAccess":     allowing(`["sns:*"]`),
	"AmazonDynamoDBReadOnlyAccess": allowing(`["dynamodb:BatchGet*","dynamodb:Describe*","dynamodb:Get*","dynamodb:List*",
		"dynamodb:Query","dynamodb:Scan"]`),
	"AmazonEC2ContainerRegistryReadOnly": allowing(`["ecr:GetAuthorizationToken","ecr:BatchCheckLayerAvailability",
		"ecr:GetDownloadUrlForLayer","ecr:BatchGetImage","ecr:Describe*","ecr:List*"]`),
	"CloudWatchReadOnlyAccess": allowing(`["cloudwatch:Describe*","cloudwatch:Get*","cloudwatch:List*","logs:Get*","logs:Describe*"]`),
	"AWSDenyAll":               `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`,

	// AWS attaches these to users whose keys are exposed in public.
	"AWSCompromisedKeyQuarantine":   quarantine,
	"AWSCompromisedKeyQuarantineV2": quarantine,
	"AWSCompromisedKeyQuarantineV3": quarantine,
}

const quarantine = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["iam:AttachUserPolicy","iam:CreateAccessKey",
	"iam:CreateUser","iam:PutUserPolicy","iam:UpdateAccessKey","ec2:RunInstances","lambda:CreateFunction","s3:PutBucketPolicy"],"Resource":"*"}]}`

func allowing(actions string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":` + actions + `,"Resource":"*"}]}`
}
